################################################################################
# Function
################################################################################

variable "function_name" {
  description = "Name of the function, unique in the account and region; also the start of its role's name."
  type        = string

  validation {
    # 57 characters leave room for "-lambda" in the role's name, which may have 64.
    condition     = can(regex("^[a-zA-Z0-9-_]{1,57}$", var.function_name))
    error_message = "A function's name has 1 to 57 letters, digits, hyphens and underscores."
  }
}

variable "package" {
  description = "Path of the deployment zip that scripts/build_lambda.py wrote, or scripts/build_single_hop.py for a function that holds the model, relative to the folder Terraform runs in. New bytes deploy; a new date alone does not."
  type        = string

  validation {
    condition     = endswith(var.package, ".zip")
    error_message = "Lambda takes a .zip, as scripts/build_lambda.py writes it."
  }
}

variable "package_s3" {
  description = "Bucket and key of the same zip in S3, out of which Lambda then takes it: one of more than 50 MB cannot be sent otherwise. Null sends the file."
  type = object({
    bucket = string
    key    = string
  })
  default = null
}

variable "handler" {
  description = "Module and function that Lambda calls."
  type        = string
  default     = "whippet_lambda.handler.handler"
  nullable    = false
}

variable "runtime" {
  description = "Lambda runtime of the function."
  type        = string
  default     = "python3.12"
  nullable    = false

  validation {
    condition     = contains(["python3.11", "python3.12", "python3.13"], var.runtime)
    error_message = "The handler runs on python3.11, python3.12 or python3.13."
  }
}

variable "architecture" {
  description = "Processor of the function. arm64 costs a fifth less. The zip of scripts/build_lambda.py holds Python only and runs on both; that of scripts/build_single_hop.py is for the one it was built for."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Lambda runs on arm64 or x86_64."
  }
}

variable "memory_size" {
  description = "Memory of one environment in MB; the share of a processor grows with it."
  type        = number
  default     = 256
  nullable    = false

  validation {
    condition     = var.memory_size >= 128 && var.memory_size <= 10240
    error_message = "Lambda gives 128 to 10240 MB."
  }
}

variable "timeout" {
  description = "Seconds after which Lambda ends a call. The handler's own time limits stay below it."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.timeout >= 3 && var.timeout <= 900
    error_message = "Choose 3 to 900 seconds: below 3 there is no time left to ask the endpoint."
  }
}

variable "environment_variables" {
  description = "More environment variables, such as WHIPPET_MAX_PHOTO_BYTES. Anyone who may read the function's settings sees them: no secrets."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for name in keys(var.environment_variables) : can(regex("^[a-zA-Z][a-zA-Z0-9_]+$", name)) && !contains(["WHIPPET_ENDPOINT_NAME", "WHIPPET_MODEL_DIR", "WHIPPET_ALLOWED_URL_HOSTS", "WHIPPET_METRICS_NAMESPACE"], name)])
    error_message = "A name has letters, digits and underscores, starting with a letter. WHIPPET_ENDPOINT_NAME, WHIPPET_MODEL_DIR, WHIPPET_ALLOWED_URL_HOSTS and WHIPPET_METRICS_NAMESPACE are set by endpoint_name, allowed_url_hosts and metrics_namespace."
  }

  validation {
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
    condition     = alltrue([for name in keys(var.environment_variables) : !can(regex("^(AWS_(ACCESS_KEY|ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|REGION|DEFAULT_REGION|EXECUTION_ENV)|AWS_LAMBDA_(FUNCTION|INITIALIZATION|LOG|RUNTIME_API).*|LAMBDA_(TASK_ROOT|RUNTIME_DIR))$", name))])
    error_message = "Lambda keeps AWS_REGION, AWS_ACCESS_KEY_ID, LAMBDA_TASK_ROOT and their like for itself."
  }
}

################################################################################
# Concurrency
################################################################################

variable "reserved_concurrency" {
  description = "Most calls answered at once; further callers get 429. Reserving is free, but AWS keeps 100 of the account's quota unreserved, so a new account with a low quota cannot reserve any. -1 reserves nothing."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.reserved_concurrency == -1 || (var.reserved_concurrency >= 1 && floor(var.reserved_concurrency) == var.reserved_concurrency)
    error_message = "Reserve a whole number of calls, at least 1, or -1 for no reservation (0 would refuse every call)."
  }
}

variable "provisioned_concurrency" {
  description = <<-EOT
    Environments that are started ahead of their calls, so that none of these waits for a cold start. They cost by the hour. Null keeps none.

    - `min`: how many there are; of an autoscaled number the fewest
    - `max`: the most, and the switch for autoscaling: Application Auto Scaling tracks their utilization. Null keeps `min`
    - `target_utilization`: share of them that is busy when their number is right, 0.1 to 0.9
    - `scale_in_cooldown`, `scale_out_cooldown`: seconds between two actions
  EOT
  type = object({
    min                = optional(number, 1)
    max                = optional(number)
    target_utilization = optional(number, 0.7)
    scale_in_cooldown  = optional(number, 300)
    scale_out_cooldown = optional(number, 30)
  })
  default = null

  validation {
    condition     = var.provisioned_concurrency == null || try(var.provisioned_concurrency.min >= 1 && floor(var.provisioned_concurrency.min) == var.provisioned_concurrency.min, false)
    error_message = "provisioned_concurrency.min is a whole number, at least 1; set provisioned_concurrency to null for none."
  }

  validation {
    condition     = try(var.provisioned_concurrency.max, null) == null || try(var.provisioned_concurrency.max >= var.provisioned_concurrency.min && floor(var.provisioned_concurrency.max) == var.provisioned_concurrency.max, false)
    error_message = "provisioned_concurrency.max is a whole number, at least min, or null for a fixed number."
  }

  validation {
    # Lambda refuses more: https://docs.aws.amazon.com/lambda/latest/api/API_PutProvisionedConcurrencyConfig.html
    condition     = var.provisioned_concurrency == null || var.reserved_concurrency == -1 || try(max(var.provisioned_concurrency.min, coalesce(var.provisioned_concurrency.max, 1)) <= var.reserved_concurrency, false)
    error_message = "The reserved concurrency is the function's ceiling: raise reserved_concurrency to at least provisioned_concurrency.max (or min), or set it to -1."
  }

  validation {
    # https://docs.aws.amazon.com/lambda/latest/dg/provisioned-concurrency.html
    condition     = var.provisioned_concurrency == null || try(var.provisioned_concurrency.target_utilization >= 0.1 && var.provisioned_concurrency.target_utilization <= 0.9, false)
    error_message = "provisioned_concurrency.target_utilization is 0.1 to 0.9: a share, not a percentage."
  }

  validation {
    condition     = var.provisioned_concurrency == null || try(var.provisioned_concurrency.scale_in_cooldown >= 0 && var.provisioned_concurrency.scale_out_cooldown >= 0, false)
    error_message = "Cooldowns are seconds, at least 0."
  }
}

variable "account_concurrency_quota" {
  description = "The account's quota of concurrent executions in this region: `aws lambda get-account-settings --query AccountLimit.ConcurrentExecutions`. With it the plan refuses what Lambda would refuse in the apply; what other functions reserve is not known to it. Null does not check."
  type        = number
  default     = null

  validation {
    condition     = var.account_concurrency_quota == null || try(var.account_concurrency_quota >= 1, false)
    error_message = "A quota is at least 1; null does not check."
  }
}

################################################################################
# What it asks
################################################################################

variable "endpoint_name" {
  description = "Name of the SageMaker endpoint that the function asks, in the same account and region: the only one that its role may invoke. Null for a package that holds the model (scripts/build_single_hop.py), whose role may invoke none."
  type        = string
  default     = null

  validation {
    condition     = var.endpoint_name == null || can(regex("^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$", var.endpoint_name))
    error_message = "Give the name of one endpoint: 1 to 63 letters, digits and hyphens, no ARN and no wildcard."
  }
}

variable "invoke_condition" {
  description = "IAM condition on the role's sagemaker:InvokeEndpoint, as {OPERATOR = {KEY = [VALUE]}}, such as {StringEquals = {\"sagemaker:TargetModel\" = [\"dogs.tar.gz\"]}} for a multi-model endpoint or {StringEquals = {\"aws:SourceVpc\" = [\"vpc-1\"]}}. Null sets none. SageMaker has no condition key for a variant: a variant that only some callers may reach needs an endpoint of its own."
  type        = map(map(list(string)))
  default     = null

  validation {
    # https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsagemaker.html
    condition     = alltrue([for key in flatten([for operands in values(coalesce(var.invoke_condition, {})) : keys(operands)]) : can(regex("^(sagemaker:TargetModel|aws:[A-Za-z0-9]+(/.+)?)$", key))])
    error_message = "InvokeEndpoint knows the condition key sagemaker:TargetModel and the global ones (aws:...). There is none for a variant; another key would refuse every call."
  }
}

variable "metrics_namespace" {
  description = "CloudWatch namespace of the handler's own metrics, such as Whippet: latency, photo bytes, retries, throttles and errors of each call. They are read out of its log, so that no permission is needed; CloudWatch bills six metrics. Empty means none."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9._/#-]{0,255}$", var.metrics_namespace)) && !startswith(var.metrics_namespace, "AWS/")
    error_message = "A namespace has up to 255 letters, digits and ._/#-, and does not begin with AWS/."
  }
}

variable "allowed_url_hosts" {
  description = "Hosts that {\"url\": ...} events may name. Empty turns such events off."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for host in var.allowed_url_hosts : can(regex("^(\\*\\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]([a-z0-9-]*[a-z0-9])?$", host))])
    error_message = "Give host names in lower case, such as images.example.org or *.example.org: no scheme, port, path or IP address."
  }
}

variable "photo_read_arns" {
  description = "ARN patterns of the S3 objects that {\"s3\": ...} events may name, such as arn:aws:s3:::BUCKET/photos/*. Empty turns such events off."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for arn in var.photo_read_arns : can(regex("^arn:[^:]+:s3:::[^/*]+/.+$", arn))])
    error_message = "Each entry must name objects of one bucket, such as arn:aws:s3:::BUCKET/photos/*."
  }
}

################################################################################
# Ways in, and what becomes of failed events
################################################################################

variable "alias" {
  description = "Name of the alias that callers use. It moves to the new version in each deployment."
  type        = string
  default     = "live"
  nullable    = false

  validation {
    condition     = can(regex("^[a-zA-Z0-9-_]{1,128}$", var.alias)) && !can(regex("^[0-9]+$", var.alias))
    error_message = "An alias has letters, digits, hyphens and underscores, and is not a number."
  }
}

variable "function_url" {
  description = <<-EOT
    An HTTPS URL of the alias; null makes none.

    - `authorization`: AWS_IAM (callers sign their requests and need lambda:InvokeFunctionUrl and lambda:InvokeFunction on the alias) or NONE (anyone may call)
    - `cors`: what browsers on other sites may do; null answers no preflight request
  EOT
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

  validation {
    condition     = var.function_url == null || contains(["AWS_IAM", "NONE"], try(var.function_url.authorization, ""))
    error_message = "function_url.authorization is AWS_IAM or NONE."
  }

  validation {
    condition     = alltrue([for origin in try(var.function_url.cors.allow_origins, []) : can(regex("^https?://[^/*]+$", origin))])
    error_message = "function_url.cors.allow_origins holds origins such as https://www.example.org: scheme and host, no path and no wildcard."
  }

  validation {
    condition     = alltrue([for method in try(var.function_url.cors.allow_methods, []) : contains(["GET", "PUT", "HEAD", "POST", "PATCH", "DELETE"], method)])
    error_message = "function_url.cors.allow_methods holds GET, PUT, HEAD, POST, PATCH or DELETE; Lambda answers OPTIONS itself."
  }

  validation {
    condition     = try(var.function_url.cors.max_age_seconds, 0) >= 0 && try(var.function_url.cors.max_age_seconds, 0) <= 86400
    error_message = "function_url.cors.max_age_seconds is 0 to 86400."
  }
}

variable "asynchronous" {
  description = <<-EOT
    What becomes of asynchronous calls (InvocationType Event) that fail. Null, for a function that is asked synchronously, leaves Lambda's own: two retries, then the event is gone.

    - `on_failure_arn`: ARN of the SQS queue, SNS topic, function or event bus that gets failed events; null makes a queue, NAME-failed
    - `queue_retention_days`: days that this queue keeps them, 1 to 14
    - `maximum_retry_attempts`: 0 to 2
    - `maximum_event_age_seconds`: how long an event may wait for its turn, 60 to 21600
  EOT
  type = object({
    on_failure_arn            = optional(string)
    queue_retention_days      = optional(number, 14)
    maximum_retry_attempts    = optional(number, 2)
    maximum_event_age_seconds = optional(number, 3600)
  })
  default = null

  validation {
    condition     = try(var.asynchronous.on_failure_arn, null) == null || can(regex("^arn:[^:]+:(sqs|sns|lambda|events):[a-z0-9-]+:\\d{12}:[^*]+$", var.asynchronous.on_failure_arn))
    error_message = "asynchronous.on_failure_arn is the ARN of one SQS queue, SNS topic, Lambda function or EventBridge bus."
  }

  validation {
    condition     = var.asynchronous == null || try(var.asynchronous.queue_retention_days >= 1 && var.asynchronous.queue_retention_days <= 14, false)
    error_message = "asynchronous.queue_retention_days is 1 to 14: SQS keeps no message for longer."
  }

  validation {
    condition     = var.asynchronous == null || contains([0, 1, 2], try(var.asynchronous.maximum_retry_attempts, -1))
    error_message = "asynchronous.maximum_retry_attempts is 0, 1 or 2."
  }

  validation {
    condition     = var.asynchronous == null || try(var.asynchronous.maximum_event_age_seconds >= 60 && var.asynchronous.maximum_event_age_seconds <= 21600, false)
    error_message = "asynchronous.maximum_event_age_seconds is 60 to 21600."
  }
}

variable "vpc" {
  description = "Subnets and security groups that the function runs in; null for Lambda's own network. In a VPC it reaches SageMaker only through a NAT gateway or an interface endpoint for sagemaker.runtime."
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = null

  validation {
    # https://docs.aws.amazon.com/lambda/latest/api/API_VpcConfig.html
    condition     = var.vpc == null || try(length(var.vpc.subnet_ids) >= 1 && length(var.vpc.subnet_ids) <= 16 && length(var.vpc.security_group_ids) >= 1 && length(var.vpc.security_group_ids) <= 5, false)
    error_message = "A VPC needs 1 to 16 subnet_ids (two in different zones, better) and 1 to 5 security_group_ids."
  }
}

################################################################################
# Logs, traces, encryption and limits
################################################################################

variable "log_retention_days" {
  description = "Days that the function's logs are kept."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch Logs keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653 days."
  }
}

variable "enable_xray" {
  description = "Send traces of a sample of the calls to X-Ray. The role then may send traces, which AWS cannot limit to a resource."
  type        = bool
  default     = false
  nullable    = false
}

variable "kms_key_arn" {
  description = "ARN of the KMS key for the function's logs and the queue of failed events, and with encrypt_variables for its variables. Null for AWS's own encryption. Its policy must let CloudWatch Logs use it."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[^:]+:kms:[a-z0-9-]+:\\d{12}:key/.+$", var.kms_key_arn))
    error_message = "Give the key's ARN, arn:aws:kms:REGION:ACCOUNT:key/ID, or null for AWS's own encryption."
  }
}

variable "kms_key_alias" {
  description = "Alias of `kms_key_arn`, such as alias/whippet-prod. The role's policy then names the key by it, for a key that the same apply creates: its ARN is not known in the plan, and the policy would not be either. Null where the ARN is known."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_alias == null || can(regex("^alias/[a-zA-Z0-9/_-]+$", var.kms_key_alias))
    error_message = "An alias is alias/NAME."
  }
}

variable "encrypt_variables" {
  description = "Encrypt the function's variables with `kms_key_arn` too; the role may then decrypt with it. They hold no secret: the names of the endpoint and of hosts, which Lambda's own key encrypts otherwise."
  type        = bool
  default     = false

  validation {
    # An alias tells that there is a key whose ARN the plan does not know yet.
    condition     = !var.encrypt_variables ? true : var.kms_key_alias != null ? true : var.kms_key_arn != null
    error_message = "encrypt_variables needs kms_key_arn."
  }
}

variable "code_signing" {
  description = "AWS Signer profile versions of which one must have signed the zip, and what becomes of other code: Enforce refuses it, Warn takes it and logs. Null takes any code. A signed zip is what Signer writes, not what scripts/build_lambda.py does."
  type = object({
    signing_profile_version_arns = list(string)
    untrusted_artifact           = optional(string, "Enforce")
  })
  default = null

  validation {
    condition     = var.code_signing == null || try(length(var.code_signing.signing_profile_version_arns) >= 1 && length(var.code_signing.signing_profile_version_arns) <= 20 && alltrue([for arn in var.code_signing.signing_profile_version_arns : can(regex("^arn:[^:]+:signer:[a-z0-9-]+:\\d{12}:/signing-profiles/[^/]+/[^/]+$", arn))]), false)
    error_message = "code_signing.signing_profile_version_arns holds 1 to 20 ARNs such as arn:aws:signer:REGION:ACCOUNT:/signing-profiles/NAME/VERSION."
  }

  validation {
    condition     = var.code_signing == null || contains(["Enforce", "Warn"], try(var.code_signing.untrusted_artifact, ""))
    error_message = "code_signing.untrusted_artifact is Enforce or Warn."
  }
}

variable "permissions_boundary_arn" {
  description = "ARN of the IAM policy that bounds what the function's role may ever do; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[^:]+:iam::(\\d{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "Give the ARN of an IAM policy, arn:aws:iam::ACCOUNT:policy/NAME, or null."
  }
}
