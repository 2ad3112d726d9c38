################################################################################
# Deployment
################################################################################

variable "name" {
  description = "Name of the system. With the environment it starts every resource's name, and is unique in the account."
  type        = string
  default     = "whippet"

  validation {
    # With the environment's 15 it stays within the 36 characters that an endpoint configuration's prefix may have.
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name))
    error_message = "Use 2 to 20 lower-case letters, digits and hyphens; start with a letter, and do not end with a hyphen."
  }
}

variable "environment" {
  description = "Which deployment this is, such as local, dev or prod. envs/ENVIRONMENT.tfvars holds its settings."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{0,14}$", var.environment))
    error_message = "Use 1 to 15 lower-case letters and digits, starting with a letter: dev, prod, staging2."
  }
}

variable "region" {
  description = "AWS region to deploy to."
  type        = string
  default     = "us-east-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-\\d$", var.region))
    error_message = "Give the region's code, such as us-east-1 or eu-central-1."
  }
}

variable "local_aws_url" {
  description = "Address of local AWS (`whippet local up`), such as http://127.0.0.1:4566. Null deploys to AWS."
  type        = string
  default     = null

  validation {
    condition     = var.local_aws_url == null || can(regex("^https?://[^/]+$", var.local_aws_url))
    error_message = "Give scheme, host and port only, such as http://127.0.0.1:4566, or null for AWS."
  }
}

variable "single_hop" {
  description = "Let the Lambda hold the model and answer itself, for little traffic: there is no endpoint then, which costs by the hour, and no autoscaling, and the variables of both mean nothing. Its package is what `python scripts/build_single_hop.py` writes. Events and answers stay the same."
  type        = bool
  default     = false
  nullable    = false
}

variable "tags" {
  description = "More tags for every resource, beside Project, Environment and ManagedBy."
  type        = map(string)
  default     = {}
}

variable "vpc" {
  description = "VPC for the endpoint's containers, the Lambda, the notebook and the training instance: its id, private subnets, and security groups that let HTTPS out. The subnets must lead to S3, SageMaker, CloudWatch Logs and KMS, by endpoints or a NAT gateway. Null for AWS's own networks."
  type = object({
    id                 = string
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = null

  validation {
    condition     = var.vpc == null ? true : length(var.vpc.subnet_ids) > 0 && length(var.vpc.security_group_ids) > 0
    error_message = "Give at least one subnet and one security group of the VPC."
  }
}

variable "create_kms_key" {
  description = "Create a KMS key, one dollar a month, that encrypts objects, logs, disks and notifications. Without it, and without kms_key_arn, AWS's own keys do."
  type        = bool
  default     = false
}

variable "kms_key_arn" {
  description = "ARN of a KMS key of yours to use instead. Its policy must let CloudWatch Logs, CloudWatch and Budgets use it; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[^:]+:kms:[^:]+:\\d{12}:key/.+$", var.kms_key_arn))
    error_message = "Give the ARN of a key, such as arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab."
  }

  validation {
    condition     = var.kms_key_arn == null || !var.create_kms_key
    error_message = "Give kms_key_arn or create_kms_key, not both."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the IAM policy that bounds what any role of this deployment may ever do; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[^:]+:iam::(\\d{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "Give the ARN of a managed policy, such as arn:aws:iam::123456789012:policy/boundary."
  }
}

variable "github" {
  description = "Let GitHub Actions deploy, without long-lived keys: jobs of `repository` (OWNER/NAME) in its environment `environment` (null = this deployment's) take a role that is limited to this deployment's resources. `create_provider` is false where the account has GitHub's OIDC provider already; `state` says where the state lies (bucket, key, workspace); `permissions_boundary_arn` bounds the role. Null makes no such role."
  type = object({
    repository      = string
    environment     = optional(string)
    create_provider = optional(bool, true)
    state = optional(object({
      bucket    = string
      key       = string
      workspace = optional(string)
    }))
    permissions_boundary_arn = optional(string)
  })
  default = null
}

################################################################################
# Artifacts
################################################################################

variable "model_archive" {
  description = "The trained model, relative to this folder. A changed file updates the endpoint."
  type        = string
  default     = "../build/model.tar.gz"
}

variable "lambda_zip" {
  description = "The Lambda's deployment zip, relative to this folder. A changed file updates the function. Null for ../build/lambda.zip, and with single_hop ../build/lambda-single-hop-ARCHITECTURE.zip."
  type        = string
  default     = null
}

variable "training_package" {
  description = "The training package, relative to this folder. A changed file replaces the training instance."
  type        = string
  default     = "../build/training.tar.gz"
}

variable "artifacts_force_destroy" {
  description = "Let destroy delete the buckets with everything in them, photos and training runs included."
  type        = bool
  default     = false
}

variable "artifacts_retention_days" {
  description = "Days that things in the buckets are kept: `data_capture` (30), access `logs` (365), `checkpoints` (14), `noncurrent` versions (90), `incomplete_uploads` (7). Null keeps everything, and saves an apply the 55 seconds that the AWS provider waits for each change of these rules."
  type = object({
    data_capture       = optional(number, 30)
    logs               = optional(number, 365)
    checkpoints        = optional(number, 14)
    noncurrent         = optional(number, 90)
    incomplete_uploads = optional(number, 7)
  })
  default = {}
}

################################################################################
# Training instance and notebook
################################################################################

variable "create_training_instance" {
  description = "Create an EC2 instance that trains, writes the model's address to an SSM parameter, and terminates itself. It needs photos under data/ in the models bucket."
  type        = bool
  default     = false
}

variable "training_instance_type" {
  description = "Type of the training instance."
  type        = string
  default     = "t3.large"
}

variable "training_ami_family" {
  description = "\"cpu\" is Amazon Linux 2023, onto which the run installs PyTorch; \"gpu\" is AWS's Deep Learning AMI. Null chooses by the instance type."
  type        = string
  default     = null
}

variable "training_ami_id" {
  description = "AMI of the training instance, instead of the family's newest; null for the family's."
  type        = string
  default     = null
}

variable "training_on_apply" {
  description = "Train when the instance's settings are first applied, and whenever they change. False waits for the output training_start_command."
  type        = bool
  default     = true
}

variable "training_spot" {
  description = "Train on spot capacity, and go on after an interruption: `max_usd_per_hour` (null = the on-demand price) and `other_instance_types` to take as well. Null trains on demand."
  type = object({
    max_usd_per_hour     = optional(number)
    other_instance_types = optional(list(string), [])
  })
  default = null
}

variable "training_time_limit_minutes" {
  description = "Minutes after which a training run ends whatever happens."
  type        = number
  default     = 240
}

variable "training_hyperparameters" {
  description = "Fixed hyperparameters of the training instance: each becomes a flag of whippet_training.train."
  type        = map(string)
  default     = { seed = "0" }
}

variable "training_session_manager" {
  description = "Let Session Manager open a shell on the training instance. There is no SSH."
  type        = bool
  default     = true
}

variable "create_notebook" {
  description = "Create a SageMaker notebook instance. It costs by the hour until it is stopped."
  type        = bool
  default     = false
}

variable "notebook_instance_type" {
  description = "Type of the notebook instance."
  type        = string
  default     = "ml.t3.medium"
}

variable "notebook_idle_minutes" {
  description = "Minutes of nobody using it after which the notebook stops; null lets it run on."
  type        = number
  default     = 60
}

variable "notebook_files" {
  description = "Notebooks that lie in the instance's home, relative to this folder; those that do not exist are left out."
  type        = list(string)
  default     = ["../notebooks/train_and_deploy.ipynb"]
}

################################################################################
# Endpoint and its scaling
################################################################################

variable "inference_image" {
  description = "Amazon ECR image that serves the model; null for AWS's stock PyTorch CPU container of the region."
  type        = string
  default     = null
}

variable "inference_environment" {
  description = "More environment variables for the serving container. No secrets."
  type        = map(string)
  default     = {}
}

variable "inference_network_isolation" {
  description = "Cut the serving container off from every network. Null for yes, except on a serverless endpoint, where SageMaker has no isolation."
  type        = bool
  default     = null
}

variable "endpoint_instance_type" {
  description = "Type of the hosting instances; burstable ones cannot autoscale and are refused."
  type        = string
  default     = "ml.m5.large"
}

variable "endpoint_vcpus" {
  description = "Virtual processors of one hosting instance, 2 for ml.m5.large: SageMaker tells their utilization as a sum, up to 200 % there."
  type        = number
  default     = 2
}

variable "endpoint_serverless" {
  description = "A serverless endpoint instead of instances: nothing at rest costs anything, and a cold start takes seconds. `memory_size_mb` of one environment, `max_concurrency` requests at once, `provisioned_concurrency` environments kept warm. Null for instances."
  type = object({
    memory_size_mb          = optional(number, 3072)
    max_concurrency         = optional(number, 5)
    provisioned_concurrency = optional(number)
  })
  default = null
}

variable "endpoint_initial_instance_count" {
  description = "Instances that the endpoint starts with, and that every update of it returns to until autoscaling decides again; null for autoscaling_min_capacity."
  type        = number
  default     = null
}

variable "endpoint_deployment" {
  description = "How an update of the endpoint reaches the traffic: `strategy` ALL_AT_ONCE, CANARY, LINEAR or ROLLING, the `step`'s size, `wait_seconds` in which the alarms are watched after each step, `termination_wait_seconds` and `timeout_seconds`; with `rollback` the alarms on 5xx answers and latency roll it back. Null shifts everything as soon as the new instances are healthy, with no way back. Decide for or against roll-back before the first apply: the provider (5.100) replaces an endpoint that gets its first alarm or loses its last."
  type = object({
    strategy = optional(string, "CANARY")
    step = optional(object({
      type  = optional(string, "CAPACITY_PERCENT")
      value = number
    }), { value = 25 })
    wait_seconds             = optional(number, 300)
    termination_wait_seconds = optional(number, 120)
    timeout_seconds          = optional(number, 3600)
    rollback                 = optional(bool, true)
  })
  default = null
}

variable "endpoint_data_capture" {
  description = "Keep `sampling_percentage` of the requests (Input) and answers (Output) in the data capture bucket, as artifacts_retention_days says. Photos may be personal data. Null keeps nothing."
  type = object({
    sampling_percentage = optional(number, 100)
    modes               = optional(list(string), ["Input", "Output"])
  })
  default = null
}

variable "autoscaling_min_capacity" {
  description = "Fewest hosting instances."
  type        = number
  default     = 1
}

variable "autoscaling_max_capacity" {
  description = "Most hosting instances."
  type        = number
  default     = 5
}

variable "autoscaling_metric" {
  description = "Metric that scaling tracks: SageMakerVariantConcurrentRequestsPerModelHighResolution or SageMakerVariantInvocationsPerInstance."
  type        = string
  default     = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
}

variable "autoscaling_target_value" {
  description = "Value of the metric that scaling aims at. Null stands for 1 concurrent request, the highest with which 5 callers at once can reach 5 instances."
  type        = number
  default     = null
}

variable "autoscaling_scale_in_cooldown" {
  description = "Seconds between two scale-in actions."
  type        = number
  default     = 30
}

variable "autoscaling_scale_out_cooldown" {
  description = "Seconds between two scale-out actions."
  type        = number
  default     = 30
}

variable "autoscaling_scheduled_actions" {
  description = "Changes of the fewest and most instances by the clock, by name: `schedule` is at(...), rate(...) or cron(...), `timezone` an IANA name, `min_capacity` and `max_capacity` the new bounds."
  type = map(object({
    schedule     = string
    timezone     = optional(string, "UTC")
    min_capacity = optional(number)
    max_capacity = optional(number)
    start_time   = optional(string)
    end_time     = optional(string)
  }))
  default = {}
}

################################################################################
# Lambda
################################################################################

variable "lambda_architecture" {
  description = "Processor of the Lambda: arm64 (a fifth cheaper) or x86_64."
  type        = string
  default     = "arm64"
}

variable "lambda_memory_size" {
  description = "Memory of one Lambda environment in MB. Null for 256, and 1769, a whole processor, with single_hop, which needs 1024 to decode the largest photos."
  type        = number
  default     = null

  validation {
    condition     = !var.single_hop || var.lambda_memory_size == null || coalesce(var.lambda_memory_size, 0) >= 1024
    error_message = "With single_hop the Lambda decodes photos and holds the model: give it 1024 MB or more, or leave lambda_memory_size out for 1769."
  }
}

variable "lambda_timeout" {
  description = "Seconds after which Lambda ends a call."
  type        = number
  default     = 30
}

variable "lambda_reserved_concurrency" {
  description = "Most calls answered at once; -1 reserves nothing, for accounts whose quota is too low to reserve."
  type        = number
  default     = 5
}

variable "lambda_allowed_url_hosts" {
  description = "Hosts that {\"url\": ...} events may name, such as images.example.org or *.example.org. Empty turns such events off."
  type        = list(string)
  default     = []
}

variable "lambda_metrics_namespace" {
  description = "CloudWatch namespace of the Lambda's own metrics, such as Whippet: latency, photo bytes, retries, throttles and errors of each call. They are read out of its log; CloudWatch bills six metrics. Empty means none."
  type        = string
  default     = ""
  nullable    = false
}

variable "lambda_photo_read_arns" {
  description = "ARN patterns of the S3 objects that {\"s3\": ...} events may name. Empty turns such events off."
  type        = list(string)
  default     = []
}

variable "lambda_account_concurrency_quota" {
  description = "The account's quota of concurrent executions, as `aws lambda get-account-settings` tells it: the plan then refuses what Lambda would. Null does not check."
  type        = number
  default     = null
}

variable "lambda_provisioned_concurrency" {
  description = "Environments that are started ahead of their calls, and cost by the hour: `min`, and with `max` autoscaled between the two at `target_utilization`. Null keeps none."
  type = object({
    min                = optional(number, 1)
    max                = optional(number)
    target_utilization = optional(number, 0.7)
    scale_in_cooldown  = optional(number, 300)
    scale_out_cooldown = optional(number, 30)
  })
  default = null
}

variable "lambda_function_url" {
  description = "An HTTPS URL of the Lambda: `authorization` is AWS_IAM (signed requests) or NONE (anyone), `cors` what browsers on other sites may do. Null makes none."
  type = object({
    authorization = optional(string, "AWS_IAM")
    cors = optional(object({
      allow_origins   = list(string)
      allow_methods   = optional(list(string), ["POST"])
      allow_headers   = optional(list(string), ["content-type"])
      expose_headers  = optional(list(string), [])
      max_age_seconds = optional(number, 3600)
    }))
  })
  default = null
}

variable "lambda_asynchronous" {
  description = "Where events of failed asynchronous calls go: `on_failure_arn`, or a queue that is made (null), kept for `queue_retention_days`, after `maximum_retry_attempts` within `maximum_event_age_seconds`. The role may then write there. Null, for a Lambda that is asked synchronously, leaves Lambda's own two retries."
  type = object({
    on_failure_arn            = optional(string)
    queue_retention_days      = optional(number, 14)
    maximum_retry_attempts    = optional(number, 2)
    maximum_event_age_seconds = optional(number, 3600)
  })
  default = null
}

variable "lambda_enable_xray" {
  description = "Send traces of a sample of the calls to X-Ray. The role may then send traces, which AWS cannot limit to a resource."
  type        = bool
  default     = false
}

variable "lambda_code_signing" {
  description = "AWS Signer profile versions of which one must have signed the Lambda's zip, and what becomes of other code: Enforce or Warn. Null takes any."
  type = object({
    signing_profile_version_arns = list(string)
    untrusted_artifact           = optional(string, "Enforce")
  })
  default = null
}

################################################################################
# Observability
################################################################################

variable "log_retention_days" {
  description = "Days that the logs of the endpoint and of the Lambda are kept."
  type        = number
  default     = 30
}

variable "alarm_actions" {
  description = "ARNs of SNS topics of yours that hear of alarms, beside the topic that alarm_emails makes."
  type        = list(string)
  default     = []
}

variable "alarm_emails" {
  description = "Make a topic for alarms and the budget, and ask these addresses whether they want its mails; an empty list makes the topic alone. Null makes none."
  type        = list(string)
  default     = null
}

variable "alarms" {
  description = "Other thresholds of alarms, as modules/observability has them; such as { endpoint_latency = { threshold = 500 } } or { endpoint_cpu = { enabled = false } }."
  type        = any
  default     = {}
}

variable "create_dashboard" {
  description = "Make a CloudWatch dashboard. The account's first three are free, each further one is 3 dollars a month."
  type        = bool
  default     = true
}

variable "budget" {
  description = "A monthly budget: `limit` in US dollars, the `percentages` of it at which `emails` are told, and a cost allocation `tag` to count only this deployment. Null sets none."
  type = object({
    limit            = number
    percentages      = optional(list(number), [80, 100])
    include_forecast = optional(bool, true)
    emails           = optional(list(string), [])
    tag              = optional(object({ key = string, value = string }))
  })
  default = null
}
