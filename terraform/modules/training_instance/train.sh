# shellcheck shell=bash
# Trains once, by SageMaker's training contract (SM_CHANNEL_*, SM_MODEL_DIR), and terminates the instance. The settings
# stand above. S3 holds what the run made and its log, CloudWatch the log as it grows, an SSM parameter the model's
# address, written last: who reads it finds everything else in place.
#
# Tests set WHIPPET_ROOT and WHIPPET_IMDS; on an instance they are empty.
set -euo pipefail
umask 077

# Before anything can fail. The instance's shutdown behaviour is to terminate.
if ! shutdown -P "+$TIME_LIMIT_MINUTES"; then
  (sleep "$((TIME_LIMIT_MINUTES * 60))" && shutdown -P now) &
fi

root=${WHIPPET_ROOT:-}
imds=${WHIPPET_IMDS:-http://169.254.169.254}/latest
work=$root/opt/ml
log=$work/training.log
run=$(date -u +%Y%m%dT%H%M%SZ)
run_uri=s3://$BUCKET/$RUNS_PREFIX$run
checkpoints_uri=s3://$BUCKET/$CHECKPOINTS_PREFIX

export AWS_DEFAULT_REGION AWS_PAGER='' HOME="${HOME:-/root}" # cloud-init sets no HOME
export SM_CHANNEL_TRAINING=$work/input/data/training SM_MODEL_DIR=$work/model
export SM_OUTPUT_DIR=$work/output SM_OUTPUT_DATA_DIR=$work/output/data
export WHIPPET_CACHE=$work/checkpoints/features # computed features are the long part of a run, and safe to copy as they grow
mkdir -p "$SM_CHANNEL_TRAINING" "$SM_MODEL_DIR" "$SM_OUTPUT_DATA_DIR" "$WHIPPET_CACHE" "$work/code"
exec >"$log" 2>&1

say() { echo "$(date -u +%H:%M:%S) $*"; }

fail() {
  say "$*"
  exit 1
}

metadata() {
  local token
  token=$(curl --silent --fail --max-time 2 --request PUT --header 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$imds/api/token") &&
    curl --silent --fail --max-time 2 --header "X-aws-ec2-metadata-token: $token" "$imds/meta-data/$1"
}

# Takes what the log has grown by since the last call, and writes it as the input of PutLogEvents, within its limits:
# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
log_batch='
import json, sys, time
log, sent, group, stream, ended = sys.argv[1:]
try:
    start = int(open(sent).read())
except (OSError, ValueError):
    start = 0
with open(log, "rb") as file:
    file.seek(start)
    events, size, end = [], 0, start
    for line in file:
        if not line.endswith(b"\n") and not ended or size > 800_000 or len(events) == 5_000:
            break
        end += len(line)
        message = line.decode("utf-8", "replace").rstrip()[:60_000]
        if message:
            events.append({"timestamp": int(time.time() * 1000), "message": message})
            size += len(message.encode()) + 26
if not events:
    sys.exit(3)
json.dump({"logGroupName": group, "logStreamName": stream, "logEvents": events}, sys.stdout)
print(end, file=sys.stderr)
'

send_log() { # send_log [ended]: once ended, a last line without a line feed counts as well
  while python3 -c "$log_batch" "$log" "$work/log.sent" "$LOG_GROUP" "$run" "${1:-}" >"$work/log.json" 2>"$work/log.end" &&
    aws logs put-log-events --cli-input-json "file://$work/log.json" >"$work/log.error" 2>&1; do
    mv "$work/log.end" "$work/log.sent"
  done
}

keep_sending_log() { # until it is told to end, between two batches, so that nothing is sent twice
  until [ -e "$work/ended" ]; do
    sleep 3
    send_log || true
  done
}

save_checkpoints() { aws s3 sync --only-show-errors "$work/checkpoints" "$checkpoints_uri"; }

keep_saving_checkpoints() {
  while sleep "$CHECKPOINT_INTERVAL_SECONDS"; do save_checkpoints || true; done
}

# A spot interruption is announced two minutes ahead:
# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
watch_for_interruption() {
  until metadata spot/instance-action >"$work/notice" 2>/dev/null && [ -s "$work/notice" ]; do
    sleep 5
  done
  say "spot interruption: $(cat "$work/notice")"
  touch "$work/interrupted"
  kill -TERM "$$"
}

loops=()
log_loop=
trainer=

stop() {
  trap '' TERM
  if [ -n "$trainer" ]; then
    kill -TERM "$trainer" 2>/dev/null || true
    for _ in {1..30}; do # what is left of the two minutes belongs to the checkpoints
      kill -0 "$trainer" 2>/dev/null || break
      sleep 1
    done
    kill -KILL "$trainer" 2>/dev/null || true
  fi
  exit 143
}

finish() {
  status=$?
  trap '' TERM
  trap - EXIT
  set +e
  [ "${#loops[@]}" = 0 ] || kill "${loops[@]}" 2>/dev/null
  [ "$status" = 0 ] || save_checkpoints
  touch "$work/ended"
  [ -z "$log_loop" ] || wait "$log_loop"
  say "exit code $status"
  aws s3 cp --only-show-errors "$log" "$run_uri/training.log"
  send_log ended
  [ "$TERMINATE_WHEN_DONE" = true ] || exit "$status"
  # After an interruption the group starts another instance, which goes on. After anything else it must not.
  if [ ! -e "$work/interrupted" ]; then
    aws autoscaling terminate-instance-in-auto-scaling-group --instance-id "$instance" \
      --should-decrement-desired-capacity >"$work/leave" 2>&1
  fi
  shutdown -P now
  exit "$status"
}

instance=
trap finish EXIT
trap stop TERM

instance=$(metadata instance-id) || fail "the instance's metadata does not answer"
aws logs create-log-stream --log-group-name "$LOG_GROUP" --log-stream-name "$run" || say "no log goes to CloudWatch"
keep_sending_log &
log_loop=$!
watch_for_interruption &
loops+=("$!")
say "run $run on $instance"

package=$work/$(basename "$PACKAGE_URI")
aws s3 cp --only-show-errors "$PACKAGE_URI" "$package"
hash=$(basename "$(dirname "$PACKAGE_URI")")
if [[ $hash =~ ^[0-9a-f]{16}$ ]] && [[ $(sha256sum "$package") != "$hash"* ]]; then
  fail "the training package is not the one that its key names"
fi
python3 -c 'import shutil, sys; shutil.unpack_archive(sys.argv[1], sys.argv[2])' "$package" "$work/code"
aws s3 sync --only-show-errors "s3://$BUCKET/$DATA_PREFIX" "$SM_CHANNEL_TRAINING"
if [ -z "$(find "$SM_CHANNEL_TRAINING" -type f -print -quit)" ]; then
  fail "no photos: upload them with  aws s3 sync DIR s3://$BUCKET/$DATA_PREFIX  and start again"
fi
aws s3 sync --only-show-errors "$checkpoints_uri" "$work/checkpoints"
keep_saving_checkpoints &
loops+=("$!")

cd "$work/code"
[ -z "$PIP_INDEX_URL" ] || export PIP_INDEX_URL
install=(install --quiet --no-input --disable-pip-version-check)
[ ! -d wheels ] || install+=(--no-index --find-links wheels)

# Deep Learning AMIs keep PyTorch in an environment of its own; which one depends on the release.
python=
for candidate in "$root/opt/pytorch/bin/python" "$root/opt/conda/envs/pytorch/bin/python" "$(command -v python3)"; do
  if [ -x "$candidate" ] && "$candidate" -c 'import torch' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  say "installing Python 3.12 and $TORCH_REQUIREMENTS"
  dnf install --quiet --assumeyes python3.12
  python3.12 -m venv "$work/python"
  python=$work/python/bin/python
  read -ra torch <<<"$TORCH_REQUIREMENTS"
  # PyTorch's own index has builds without CUDA, a tenth of the size; pip prefers them, and takes PyPI's otherwise.
  [ -n "$PIP_INDEX_URL" ] || [ -d wheels ] || torch+=(--extra-index-url https://download.pytorch.org/whl/cpu)
  "$python" -m pip "${install[@]}" "${torch[@]}"
fi
[ ! -f requirements.txt ] || "$python" -m pip "${install[@]}" --requirement requirements.txt

read -ra flags <<<"$FLAGS"
say "training"
for _ in {1..3}; do
  status=0
  "$python" -m whippet_training.train "${flags[@]}" &
  trainer=$!
  wait "$trainer" || status=$?
  trainer=
  [ "$status" = 75 ] || break # EX_TEMPFAIL: something has interrupted it, and it can go on
  say "the training was interrupted, and goes on from its checkpoints"
done
[ "$status" = 0 ] || exit "$status"

# An object is there whole or not at all; the parameter goes last.
aws s3 cp --only-show-errors --recursive "$SM_OUTPUT_DATA_DIR" "$run_uri/output/"
model=$work/model.tar.gz
if [ -f "$SM_MODEL_DIR/model.tar.gz" ]; then
  model=$SM_MODEL_DIR/model.tar.gz
else
  (cd "$SM_MODEL_DIR" && tar -czf "$model" -- *)
fi
aws s3 cp --only-show-errors "$model" "$run_uri/model.tar.gz"
aws ssm put-parameter --name "$MODEL_PARAMETER" --type String --overwrite --value "$run_uri/model.tar.gz" >"$work/parameter"
say "model $run_uri/model.tar.gz"
