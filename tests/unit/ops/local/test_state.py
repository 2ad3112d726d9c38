from __future__ import annotations

import sqlite3
import threading
from collections import deque
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
from moto.backends import get_backend
from moto.moto_api._internal.models import moto_api_backend

from whippet.local.clock import Clock
from whippet.local.contents import Content
from whippet.local.records import shelf
from whippet.local.settings import ACCOUNT
from whippet.local.state import State

REGION = "us-east-1"


class Disk:
    """A folder, and the states that are kept there, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "state"
        self.clock = Clock()
        self.state = State(self.folder, self.clock)
        self.state.open()

    def backend(self, service: str, region: str = REGION) -> Any:
        return get_backend(service)[ACCOUNT][region]  # type: ignore[call-overload]

    @property
    def s3(self) -> Any:
        return self.backend("s3", "aws")

    def put(self, key: str, body: bytes, bucket: str = "photos") -> None:
        self.s3.put_object(bucket, key, body)
        self.state.changed("s3", REGION)

    def crash(self) -> None:
        """Ends the process's memory, with nothing written that was not written before."""
        self.state._save = lambda backends: None  # type: ignore[method-assign]
        self.state._database = None
        moto_api_backend.reset()

    def restart(self) -> State:
        self.crash()
        self.clock = Clock(starts_at=0.0)
        self.state = State(self.folder, self.clock)
        self.state.open()
        return self.state

    def files(self) -> list[Path]:
        return list((self.folder / "contents").iterdir())


@pytest.fixture
def disk(tmp_path: Path) -> Any:
    moto_api_backend.reset()
    disk = Disk(tmp_path)
    disk.s3.create_bucket("photos", REGION)
    disk.state.changed("s3", REGION)
    yield disk
    disk.state.close()
    moto_api_backend.reset()


def test_objects_come_back_with_all_their_versions(disk: Any) -> None:
    disk.s3.put_bucket_versioning("photos", "Enabled")
    for body in (b"first", b"second"):
        disk.put("a/ü\U0001f415.jpg", body)
    disk.s3.delete_object("photos", "a/ü\U0001f415.jpg")
    disk.state.changed("s3", REGION)
    disk.restart()
    versions, _, markers, *_ = disk.s3.list_object_versions("photos")
    assert {version.value for version in versions} == {b"first", b"second"}
    assert [marker.name for marker in markers] == ["a/ü\U0001f415.jpg"]
    assert disk.state.notice == ""


def test_what_a_call_changes_in_place_comes_back(disk: Any) -> None:
    disk.put("a.jpg", b"photo")
    with disk.state.watching():
        disk.s3.put_object_retention("photos", "a.jpg", None, ("GOVERNANCE", "2099-01-01T00:00:00Z"))
    disk.restart()
    assert disk.s3.get_object("photos", "a.jpg").lock_mode == "GOVERNANCE"


def test_a_call_saves_every_service_that_it_changes(disk: Any) -> None:
    with disk.state.watching():
        disk.backend("sqs").create_queue("queue", {})
        disk.backend("iam", "aws").create_user(REGION, "user")
    disk.restart()
    assert list(disk.backend("sqs").queues) == ["queue"]
    assert list(disk.backend("iam", "aws").users) == ["user"]


def test_what_lies_on_a_shelf_comes_back(disk: Any) -> None:
    shelf(disk.backend("sagemaker"), "test")["a"] = {"b": (1, 2.0)}
    disk.state.changed("sagemaker", REGION)
    disk.restart()
    assert shelf(disk.backend("sagemaker"), "test") == {"a": {"b": (1, 2.0)}}


class Meddling:
    """Adds to a queue while the queue is being saved, the first time, as another thread may."""

    queue: ClassVar[deque[Any]] = deque()

    def __reduce__(self) -> Any:
        if len(self.queue) == 2:
            self.queue.append("more")
        return str, ("meddling",)


def test_a_queue_that_grows_while_it_is_saved_is_saved_again(disk: Any) -> None:
    Meddling.queue = deque([Meddling(), "last"])
    shelf(disk.backend("sagemaker"), "own")["queue"] = Meddling.queue
    disk.state.changed("sagemaker", REGION)
    disk.restart()
    assert list(shelf(disk.backend("sagemaker"), "own")["queue"]) == ["meddling", "last", "more"]


def test_groups_of_logs_come_back_and_their_events_do_not(disk: Any) -> None:
    logs = disk.backend("logs")
    logs.create_log_group("group", {})
    logs.create_log_stream("group", "stream")
    logs.put_log_events("group", "stream", [{"timestamp": 1, "message": "a"}])
    disk.state.changed("logs", REGION)
    disk.restart()
    [stream] = disk.backend("logs").groups["group"].streams.values()
    assert (stream.log_stream_name, stream.events) == ("stream", [])


def test_a_key_still_decrypts(disk: Any) -> None:
    kms = disk.backend("kms")
    key = kms.create_key(None, "SIGN_VERIFY", "ECC_NIST_P256", "", [])
    signature = key.private_key.sign(b"message", "ECDSA_SHA_256")
    disk.state.changed("kms", REGION)
    disk.restart()
    assert disk.backend("kms").keys[key.id].private_key.verify(b"message", signature, "ECDSA_SHA_256")


def test_objects_take_no_memory_and_what_is_deleted_no_room(disk: Any) -> None:
    for body in (b"1" * 100_000, b"2" * 100_000):
        disk.put("a.jpg", body)
    [file] = disk.files()
    assert file.read_bytes() == b"2" * 100_000
    assert isinstance(disk.s3.get_object("photos", "a.jpg")._value_buffer, Content)
    disk.s3.delete_object("photos", "a.jpg")
    disk.state.changed("s3", REGION)
    assert disk.files() == []
    disk.restart()
    assert disk.s3.get_object("photos", "a.jpg") is None


def test_an_object_can_be_read_to_its_end_while_it_is_replaced(disk: Any) -> None:
    disk.put("a.jpg", b"old")
    read = disk.s3.get_object("photos", "a.jpg")
    disk.put("a.jpg", b"new")
    assert read.value == b"old"
    del read
    assert [file.read_bytes() for file in disk.files()] == [b"new"]


def test_what_was_being_written_when_the_process_ended_is_removed(disk: Any) -> None:
    disk.put("a.jpg", b"photo")
    (disk.folder / "contents" / "half").write_bytes(b"ph")
    disk.restart()
    assert [file.read_bytes() for file in disk.files()] == [b"photo"]


def test_the_clock_never_goes_back(disk: Any) -> None:
    disk.clock.advance(4e9)
    disk.put("a.jpg", b"photo")
    disk.restart()
    assert disk.clock.time() >= 4e9


def test_the_id_lasts_until_it_is_emptied(disk: Any) -> None:
    first = disk.state.id
    assert disk.restart().id == first
    disk.state.close()
    disk.state.empty()
    moto_api_backend.reset()
    disk.state.open()
    assert disk.state.id != first
    assert disk.s3.buckets == {}


def test_after_its_end_nothing_is_saved(disk: Any) -> None:
    disk.state.close()
    disk.put("a.jpg", b"photo")
    disk.restart()
    assert disk.s3.get_object("photos", "a.jpg") is None


def garble(disk: Disk) -> None:
    """Turns one byte of what a row holds, which SQLite does not notice."""
    with sqlite3.connect(disk.folder / "state.db") as database:
        [[data]] = database.execute("SELECT data FROM records LIMIT 1")
        database.execute("UPDATE records SET data = ? WHERE data = ?", (data[:-2] + b"\0" + data[-1:], data))


def truncate(disk: Disk) -> None:
    with sqlite3.connect(disk.folder / "state.db") as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database = disk.folder / "state.db"
    database.write_bytes(database.read_bytes()[:5000])


def write_nonsense(disk: Disk) -> None:
    for file in disk.folder.glob("state.db*"):
        file.write_bytes(b"nonsense" * 1000)


def lose_the_database(disk: Disk) -> None:
    for file in disk.folder.glob("state.db*"):
        file.unlink()


def lose_a_content(disk: Disk) -> None:
    disk.files()[0].unlink()


def cut_a_content(disk: Disk) -> None:
    disk.files()[0].write_bytes(b"ph")


def write_with_another_version(disk: Disk) -> None:
    with sqlite3.connect(disk.folder / "state.db") as database:
        database.execute("UPDATE about SET value = '0.0.1' WHERE name = 'moto'")


@pytest.mark.parametrize(
    "damage",
    [garble, truncate, write_nonsense, lose_the_database, lose_a_content, cut_a_content, write_with_another_version],
)
def test_what_is_not_whole_is_kept_aside_and_not_used(disk: Any, damage: Any) -> None:
    disk.put("a.jpg", b"photo")
    before = disk.state.id
    disk.crash()
    damage(disk)
    state = disk.restart()
    assert state.id != before
    assert disk.s3.buckets == {}
    [aside] = disk.folder.parent.glob("state-*")
    assert str(aside) in state.notice
    assert "deploy again" in state.notice
    assert "\n" not in state.notice
    # and what comes next is kept
    disk.s3.create_bucket("photos", REGION)
    disk.put("b.jpg", b"photo")
    assert disk.restart().notice == ""
    assert disk.s3.get_object("photos", "b.jpg").value == b"photo"


def test_a_full_disk_is_told_and_made_up_for(disk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr(Path, "write_bytes", lambda self, data: (_ for _ in ()).throw(OSError(28, "No space left")))
        disk.put("a.jpg", b"photo")
        assert "No space left" in disk.state.notice
        assert disk.s3.get_object("photos", "a.jpg").value == b"photo"
    disk.put("b.jpg", b"another")
    assert disk.state.notice == ""
    disk.restart()
    assert {disk.s3.get_object("photos", key).value for key in ("a.jpg", "b.jpg")} == {b"photo", b"another"}


def test_what_many_threads_change_at_once_is_all_saved(disk: Any) -> None:
    def objects() -> dict[str, bytes]:
        return {name: versions[-1].value for name, versions in disk.s3.get_bucket("photos").keys.lists()}

    def work(number: int) -> None:
        random = Random(number)
        for count in range(40):
            with disk.state.watching():
                disk.backend("sqs").create_queue(f"queue-{number}-{count}", {})
                disk.s3.put_object("photos", f"{number}/{random.randrange(5)}", str(count).encode())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    before = objects()
    disk.restart()
    assert len(disk.backend("sqs").queues) == 240
    assert objects() == before
    assert len(disk.files()) == len(before) == 30


class Unreadable:
    """Can be pickled, and not be made again."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


@pytest.mark.parametrize("what", [threading.current_thread(), Unreadable()])
def test_what_cannot_be_kept_costs_nothing_else(disk: Any, caplog: pytest.LogCaptureFixture, what: Any) -> None:
    shelf(disk.backend("sns"), "test")["thread"] = what
    disk.state.changed("sns", REGION)
    disk.state.changed("sns", REGION)
    assert caplog.text.count("will not survive") == 1
    disk.put("a.jpg", b"photo")
    disk.restart()
    assert disk.s3.get_object("photos", "a.jpg").value == b"photo"


SERVICES = [
    "application-autoscaling",
    "autoscaling",
    "cloudwatch",
    "dynamodb",
    "ec2",
    "ecr",
    "events",
    "iam",
    "kms",
    "lambda",
    "logs",
    "s3",
    "sagemaker",
    "secretsmanager",
    "sns",
    "sqs",
    "ssm",
    "sts",
]


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_can_be_kept(disk: Any, caplog: pytest.LogCaptureFixture, service: str) -> None:
    disk.state.changed(service, REGION)
    before = vars(disk.backend(service) if service not in ("iam", "s3", "sts") else disk.backend(service, "aws")).keys()
    disk.restart()
    assert disk.state.notice == ""
    assert caplog.text == ""
    after = vars(disk.backend(service) if service not in ("iam", "s3", "sts") else disk.backend(service, "aws")).keys()
    assert after == before


def test_public_parameters_are_still_there(disk: Any) -> None:
    name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
    before = disk.backend("ssm").get_parameters([name])[name].value
    disk.state.changed("ssm", REGION)
    disk.restart()
    assert disk.backend("ssm").get_parameters([name])[name].value == before


def test_moto_keeps_no_list_of_all_it_ever_made(disk: Any) -> None:
    from moto.s3.models import FakeKey

    before = len(FakeKey.instances_tracked)  # type: ignore[attr-defined]
    disk.put("a.jpg", b"photo")
    assert len(FakeKey.instances_tracked) == before  # type: ignore[attr-defined]
