################################################################################
# Endpoint
################################################################################

variable "name" {
  description = "Name of the endpoint, unique in the account and region; also the start of the models', the configuration's and the role's name."
  type        = string

  validation {
    # The configuration's name adds a hyphen and the provider's 26 digits, and may have 63 characters.
    condition     = can(regex("^[a-zA-Z0-9][a-zA-Z0-9-]{0,34}[a-zA-Z0-9]$", var.name))
    error_message = "Use 2 to 36 letters, digits and hyphens, and neither starts nor ends with a hyphen."
  }
}

variable "real_time" {
  description = "Answers at once, on instances of its own: what is created where neither `serverless` nor `asynchronous` is given. `routing_strategy` is LEAST_OUTSTANDING_REQUESTS (the instance with the fewest requests under way) or RANDOM."
  type = object({
    routing_strategy = optional(string, "LEAST_OUTSTANDING_REQUESTS")
  })
  default = null

  validation {
    condition     = var.real_time == null || contains(["LEAST_OUTSTANDING_REQUESTS", "RANDOM"], try(var.real_time.routing_strategy, ""))
    error_message = "real_time.routing_strategy is LEAST_OUTSTANDING_REQUESTS or RANDOM."
  }

  validation {
    condition     = length([for mode in [var.real_time, var.serverless, var.asynchronous] : mode if mode != null]) <= 1
    error_message = "An endpoint is of one kind: give at most one of real_time, serverless and asynchronous."
  }
}

variable "serverless" {
  description = "Answers at once, without instances, and costs nothing while nobody asks: `memory_size_mb` of one environment, `max_concurrency` requests at once, and `provisioned_concurrency` environments kept warm (null = none). Null for an endpoint with instances. CPU only, one variant, no VPC, no network isolation, no data capture."
  type = object({
    memory_size_mb          = optional(number, 3072)
    max_concurrency         = optional(number, 5)
    provisioned_concurrency = optional(number)
  })
  default = null

  validation {
    condition     = var.serverless == null || contains([1024, 2048, 3072, 4096, 5120, 6144], try(var.serverless.memory_size_mb, 0))
    error_message = "serverless.memory_size_mb is 1024, 2048, 3072, 4096, 5120 or 6144."
  }

  validation {
    condition     = var.serverless == null || contains(range(1, 201), try(var.serverless.max_concurrency, 0))
    error_message = "serverless.max_concurrency is a whole number from 1 to 200."
  }

  validation {
    condition = try(var.serverless.provisioned_concurrency, null) == null || try(
      contains(range(1, var.serverless.max_concurrency + 1), var.serverless.provisioned_concurrency), false
    )
    error_message = "serverless.provisioned_concurrency is a whole number from 1 to max_concurrency, or null for none."
  }
}

variable "asynchronous" {
  description = "Queues requests, which name an object in S3 (up to 1 GB), and writes each answer to `output_s3_uri`, each failure to `failure_s3_uri` (null = nowhere). The endpoint may read the requests under `input_s3_uris`. `max_concurrent_invocations_per_instance`: null lets SageMaker choose. SNS topics hear of each answer (`success_topic_arn`) and failure (`error_topic_arn`). Null for an endpoint that answers at once."
  type = object({
    output_s3_uri                           = string
    failure_s3_uri                          = optional(string)
    input_s3_uris                           = list(string)
    max_concurrent_invocations_per_instance = optional(number)
    success_topic_arn                       = optional(string)
    error_topic_arn                         = optional(string)
  })
  default = null

  validation {
    condition = var.asynchronous == null || alltrue([
      for uri in try(compact(flatten([var.asynchronous.output_s3_uri, var.asynchronous.failure_s3_uri, var.asynchronous.input_s3_uris])), []) :
      can(regex("^s3://[a-z0-9][a-z0-9.-]+/[^*?]*[^*?/]/?$", uri))
    ])
    error_message = "Give output_s3_uri, failure_s3_uri and each of input_s3_uris as s3://BUCKET/PREFIX."
  }

  validation {
    condition     = var.asynchronous == null || length(try(var.asynchronous.input_s3_uris, [])) > 0
    error_message = "An asynchronous endpoint reads its requests from S3: say under which prefixes with asynchronous.input_s3_uris."
  }

  validation {
    condition = try(var.asynchronous.max_concurrent_invocations_per_instance, null) == null || try(
      contains(range(1, 1001), var.asynchronous.max_concurrent_invocations_per_instance), false
    )
    error_message = "asynchronous.max_concurrent_invocations_per_instance is a whole number from 1 to 1000, or null for SageMaker's choice."
  }

  validation {
    condition = alltrue([
      for arn in [try(var.asynchronous.success_topic_arn, null), try(var.asynchronous.error_topic_arn, null)] :
      arn == null || can(regex("^arn:[^:]+:sns:[a-z0-9-]+:\\d{12}:[^:]+$", arn))
    ])
    error_message = "asynchronous.success_topic_arn and error_topic_arn are ARNs of SNS topics, arn:aws:sns:REGION:ACCOUNT:NAME, or null."
  }
}

################################################################################
# Model
################################################################################

variable "model_s3_uri" {
  description = "The model archive, s3://BUCKET/KEY. A new model must have a new key; that is what makes the endpoint take it up. Null where the model comes from `model_archive`, `model_ssm_parameter` or `variants`."
  type        = string
  default     = null

  validation {
    condition     = var.model_s3_uri == null || can(regex("^s3://[^/]+/.+\\.tar\\.gz$", var.model_s3_uri))
    error_message = "Give the model as s3://BUCKET/KEY.tar.gz."
  }

  validation {
    condition     = length([for source in [var.model_s3_uri, var.model_archive, var.model_ssm_parameter] : source if source != null]) <= 1
    error_message = "The model has one source: give only one of model_s3_uri, model_archive and model_ssm_parameter."
  }
}

variable "model_archive" {
  description = "The model archive as a file on this machine, relative to the folder Terraform runs in; uploaded as `model_upload` says. A changed file is a new model. Null where the model lies in S3."
  type        = string
  default     = null

  validation {
    condition     = var.model_archive == null || try(endswith(var.model_archive, ".tar.gz"), false)
    error_message = "SageMaker takes a model as a .tar.gz archive: give the path of a model.tar.gz that training wrote."
  }
}

variable "model_ssm_parameter" {
  description = "Name of an SSM parameter (String) that holds the model's s3://BUCKET/KEY, as a training run writes it. It is read in every plan, so the next apply after a training run deploys its model. Null where the model is given."
  type        = string
  default     = null

  validation {
    condition     = var.model_ssm_parameter == null || can(regex("^[a-zA-Z0-9_./-]+$", var.model_ssm_parameter))
    error_message = "Give the parameter's name, such as /whippet-prod/model-s3-uri."
  }
}

variable "model_upload" {
  description = "Where a `model_archive` is uploaded to: `bucket` (versioned and encrypted, best) and the key's `prefix`. Null where no archive is uploaded."
  type = object({
    bucket = string
    prefix = optional(string, "models/")
  })
  default = null

  validation {
    condition     = var.model_upload == null || can(regex("^([^/*?]+/)+$", try(var.model_upload.prefix, "")))
    error_message = "model_upload.prefix is one folder or more and ends with a slash, such as models/."
  }
}

variable "model_objects_arn" {
  description = "ARN pattern of the objects that the endpoint may read, such as arn:aws:s3:::BUCKET/models/*. It must cover the models before and after an update, which run side by side for minutes. Null for all that lies in each model's first folder in its bucket."
  type        = string
  default     = null

  validation {
    condition     = var.model_objects_arn == null || can(regex("^arn:[^:]+:s3:::[^/*]+/.+$", var.model_objects_arn))
    error_message = "Give an ARN of objects in one bucket, such as arn:aws:s3:::BUCKET/models/*."
  }
}

################################################################################
# Container
################################################################################

variable "image" {
  description = "URI of the inference image in Amazon ECR; null for AWS's stock PyTorch container of the region, for CPU or GPU as the instance type asks."
  type        = string
  default     = null

  validation {
    condition     = var.image == null || can(regex("^\\d{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.[a-z0-9.-]+/[^:@]+([:@].+)?$", var.image))
    error_message = "SageMaker pulls from Amazon ECR: give ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG, or null for the stock PyTorch container."
  }
}

variable "pytorch_version" {
  description = "PyTorch of the stock container. 2.6.0 is the newest that AWS publishes for inference. Of no effect with `image`."
  type        = string
  default     = "2.6.0"

  validation {
    condition     = contains(["2.4.0", "2.5.1", "2.6.0"], var.pytorch_version)
    error_message = "image.tf knows the stock containers with PyTorch 2.4.0, 2.5.1 and 2.6.0. Give the URI of any other as image."
  }
}

variable "environment" {
  description = "More environment variables for the container, such as SAGEMAKER_MODEL_SERVER_WORKERS. No secrets: DescribeModel shows them."
  type        = map(string)
  default     = {}
}

################################################################################
# Variants and instances
################################################################################

variable "variant_name" {
  description = "Name of the production variant where `variants` is empty. Autoscaling and alarms refer to it."
  type        = string
  default     = "AllTraffic"

  validation {
    condition     = can(regex("^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$", var.variant_name))
    error_message = "A variant's name has at most 63 letters, digits and hyphens, and neither starts nor ends with a hyphen."
  }
}

variable "variants" {
  description = "Production variants by their names, for a comparison of models or instances: each has its share `weight` / sum of all weights of the traffic. What is null is as this module's variable of that name says. Empty for one variant, `variant_name`, that gets everything."
  type = map(object({
    weight                 = optional(number, 1)
    model_s3_uri           = optional(string)
    model_archive          = optional(string)
    model_ssm_parameter    = optional(string)
    image                  = optional(string)
    environment            = optional(map(string))
    instance_type          = optional(string)
    initial_instance_count = optional(number)
  }))
  default = {}

  validation {
    condition     = length(var.variants) <= 10 && alltrue([for name in keys(var.variants) : can(regex("^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$", name))])
    error_message = "An endpoint has at most 10 variants; a variant's name has at most 63 letters, digits and hyphens, and neither starts nor ends with a hyphen."
  }

  validation {
    condition = length(var.variants) == 0 || (
      alltrue([for variant in values(var.variants) : variant.weight >= 0]) &&
      anytrue([for variant in values(var.variants) : variant.weight > 0])
    )
    error_message = "A variant's weight is 0 or more, and one at least is above 0."
  }

  validation {
    condition = alltrue([
      for variant in values(var.variants) :
      length([for source in [variant.model_s3_uri, variant.model_archive, variant.model_ssm_parameter] : source if source != null]) <= 1
    ])
    error_message = "A variant's model has one source: give only one of model_s3_uri, model_archive and model_ssm_parameter."
  }

  validation {
    condition = alltrue([
      for variant in values(var.variants) :
      (variant.model_s3_uri == null || can(regex("^s3://[^/]+/.+\\.tar\\.gz$", variant.model_s3_uri))) &&
      (variant.model_archive == null || try(endswith(variant.model_archive, ".tar.gz"), false))
    ])
    error_message = "Give a variant's model as s3://BUCKET/KEY.tar.gz or as the path of a .tar.gz archive."
  }

  validation {
    condition = alltrue([
      for variant in values(var.variants) :
      variant.image == null || can(regex("^\\d{12}\\.dkr\\.ecr\\.[a-z0-9-]+\\.[a-z0-9.-]+/[^:@]+([:@].+)?$", variant.image))
    ])
    error_message = "SageMaker pulls from Amazon ECR: give a variant's image as ACCOUNT.dkr.ecr.REGION.amazonaws.com/REPOSITORY:TAG."
  }

  validation {
    condition = alltrue([
      for variant in values(var.variants) :
      variant.instance_type == null || can(regex("^ml\\.[a-su-z][a-z0-9-]*\\.[a-z0-9]+$", variant.instance_type))
    ])
    error_message = "A variant's instance type starts with \"ml.\", as in ml.m5.large, and is not burstable (ml.t2, ml.t3): those cannot autoscale."
  }

  validation {
    condition = alltrue([
      for variant in values(var.variants) : variant.initial_instance_count == null || try(
        variant.initial_instance_count >= 1 && floor(variant.initial_instance_count) == variant.initial_instance_count, false
      )
    ])
    error_message = "A variant starts with a whole number of instances, at least 1."
  }
}

variable "instance_type" {
  description = "Type of the hosting instances. Of no effect on a serverless endpoint."
  type        = string
  default     = "ml.m5.large"

  validation {
    condition     = can(regex("^ml\\.[a-z0-9-]+\\.[a-z0-9]+$", var.instance_type))
    error_message = "Hosting instance types start with \"ml.\", as in ml.m5.large."
  }

  validation {
    # https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-auto-scaling-add-console.html
    condition     = !startswith(var.instance_type, "ml.t")
    error_message = "Burstable instances (ml.t2, ml.t3) cannot autoscale: choose ml.m5.large or larger, or a c5, c6i or g type."
  }
}

variable "initial_instance_count" {
  description = "Instances that the endpoint starts with, and that every update of the endpoint returns to; autoscaling decides in between. Give what carries the load of the hours in which you update, not the minimum."
  type        = number
  default     = 1

  validation {
    condition     = var.initial_instance_count >= 1 && floor(var.initial_instance_count) == var.initial_instance_count
    error_message = "A real-time endpoint starts with a whole number of instances, at least 1."
  }
}

variable "startup_timeout_seconds" {
  description = "Seconds that a container has to answer /ping after its start; null for SageMaker's own limit. Of no effect on a serverless endpoint."
  type        = number
  default     = null

  validation {
    condition     = var.startup_timeout_seconds == null || try(var.startup_timeout_seconds >= 60 && var.startup_timeout_seconds <= 3600, false)
    error_message = "startup_timeout_seconds is 60 to 3600, or null for SageMaker's own limit."
  }
}

variable "model_download_timeout_seconds" {
  description = "Seconds that an instance has to fetch and unpack the model; null for SageMaker's own limit. Of no effect on a serverless endpoint."
  type        = number
  default     = null

  validation {
    condition     = var.model_download_timeout_seconds == null || try(var.model_download_timeout_seconds >= 60 && var.model_download_timeout_seconds <= 3600, false)
    error_message = "model_download_timeout_seconds is 60 to 3600, or null for SageMaker's own limit."
  }
}

################################################################################
# Network and encryption
################################################################################

variable "network_isolation" {
  description = "Cut the container off from every network. A model from Whippet needs none; an image that installs packages as it starts does. Null for on, except on a serverless endpoint, where SageMaker has no isolation."
  type        = bool
  default     = null
}

variable "vpc" {
  description = "Subnets and security groups in which the containers run; null for SageMaker's own network. The subnets need a route to S3 (a gateway endpoint) for the model."
  type = object({
    subnet_ids         = list(string)
    security_group_ids = list(string)
  })
  default = null

  validation {
    condition = var.vpc == null || try(
      contains(range(1, 17), length(var.vpc.subnet_ids)) && contains(range(1, 6), length(var.vpc.security_group_ids)), false
    )
    error_message = "A VPC needs 1 to 16 subnet_ids (two in different zones, better) and 1 to 5 security_group_ids."
  }
}

variable "kms_key_arn" {
  description = "ARN of the KMS key for the instances' volumes, captured data, asynchronous answers and logs; it also decrypts the model. Null for AWS's own encryption. Its policy must let CloudWatch Logs use it."
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

variable "permissions_boundary_arn" {
  description = "ARN of the IAM policy that bounds what the execution role may ever do; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.permissions_boundary_arn == null || can(regex("^arn:[^:]+:iam::(\\d{12}|aws):policy/.+$", var.permissions_boundary_arn))
    error_message = "Give the ARN of an IAM policy, arn:aws:iam::ACCOUNT:policy/NAME, or null."
  }
}

################################################################################
# Data capture and logs
################################################################################

variable "data_capture" {
  description = "Keep what is asked and answered, under `destination_s3_uri`: `sampling_percentage` of the calls, `modes` Input and/or Output. Content types in `json_content_types` and `csv_content_types` are kept as text, others base64. Null keeps nothing. What people send may be personal: mind who reads the bucket, and for how long."
  type = object({
    destination_s3_uri  = string
    sampling_percentage = optional(number, 100)
    modes               = optional(list(string), ["Input", "Output"])
    json_content_types  = optional(list(string), ["application/json"])
    csv_content_types   = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.data_capture == null || can(regex("^s3://[a-z0-9][a-z0-9.-]+/[^*?]*[^*?/]/?$", try(var.data_capture.destination_s3_uri, "")))
    error_message = "Give data_capture.destination_s3_uri as s3://BUCKET/PREFIX."
  }

  validation {
    condition     = var.data_capture == null || contains(range(1, 101), try(var.data_capture.sampling_percentage, 0))
    error_message = "data_capture.sampling_percentage is a whole number from 1 to 100; set data_capture to null to keep nothing."
  }

  validation {
    condition     = var.data_capture == null || contains(["Input", "Output", "Input,Output"], join(",", sort(distinct(try(var.data_capture.modes, [])))))
    error_message = "data_capture.modes holds Input, Output or both."
  }

  validation {
    condition = var.data_capture == null || try(
      alltrue([
        for type in concat(var.data_capture.json_content_types, var.data_capture.csv_content_types) :
        can(regex("^[a-zA-Z0-9][a-zA-Z0-9-]*/[a-zA-Z0-9][a-zA-Z0-9.-]*$", type))
      ]) && length(var.data_capture.json_content_types) <= 10 && length(var.data_capture.csv_content_types) <= 10,
      false,
    )
    error_message = "data_capture.json_content_types and csv_content_types hold at most 10 content types each, such as application/json or text/csv."
  }
}

variable "log_retention_days" {
  description = "Days that the container's logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch Logs keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653 days."
  }
}

################################################################################
# Deployment
################################################################################

variable "deployment" {
  description = <<-EOT
    How an update reaches the traffic. Null shifts all of it at once to the new instances as soon as they are healthy, with no way back.

    - `strategy`: ALL_AT_ONCE, CANARY (a first step, then the rest) and LINEAR (step by step) start a whole second fleet; ROLLING replaces the fleet step by step, for less money.
    - `step`: size of the canary, of a linear step or of a rolling batch, in `CAPACITY_PERCENT` or `INSTANCE_COUNT`; at most half of the instances.
    - `wait_seconds`: how long the alarms are watched after each step.
    - `termination_wait_seconds`: how long the old fleet is kept after the last step.
    - `timeout_seconds`: the update is rolled back after this long; an hour at most, since the AWS provider waits no longer.
    - `rollback_alarm_names`: CloudWatch alarms of which one in ALARM rolls the update back. They must exist when the endpoint is updated. Decide for or against alarms before the first apply: the AWS provider (5.100) replaces an endpoint that gets its first alarm or loses its last; names change in place.
  EOT
  type = object({
    strategy = optional(string, "CANARY")
    step = optional(object({
      type  = optional(string, "CAPACITY_PERCENT")
      value = number
    }), { value = 25 })
    wait_seconds             = optional(number, 300)
    termination_wait_seconds = optional(number, 120)
    timeout_seconds          = optional(number, 3000)
    rollback_alarm_names     = optional(list(string), [])
  })
  default = null

  validation {
    condition     = var.deployment == null || contains(["ALL_AT_ONCE", "CANARY", "LINEAR", "ROLLING"], try(var.deployment.strategy, ""))
    error_message = "deployment.strategy is ALL_AT_ONCE, CANARY, LINEAR or ROLLING."
  }

  validation {
    condition     = var.deployment == null || contains(["CAPACITY_PERCENT", "INSTANCE_COUNT"], try(var.deployment.step.type, ""))
    error_message = "deployment.step.type is CAPACITY_PERCENT or INSTANCE_COUNT."
  }

  validation {
    # https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_TrafficRoutingConfig.html and API_RollingUpdatePolicy.html
    condition = var.deployment == null || try(
      floor(var.deployment.step.value) == var.deployment.step.value && var.deployment.step.value >= (
        var.deployment.step.type == "INSTANCE_COUNT" ? 1 : lookup({ CANARY = 1, LINEAR = 10, ROLLING = 5 }, var.deployment.strategy, 1)
      ) && (var.deployment.step.type == "INSTANCE_COUNT" || var.deployment.step.value <= 50),
      false,
    )
    error_message = "deployment.step.value is a whole number: at least 1 instance, or 1 to 50 percent for CANARY, 10 to 50 for LINEAR, 5 to 50 for ROLLING."
  }

  validation {
    condition = var.deployment == null || try(
      alltrue([for wait in [var.deployment.wait_seconds, var.deployment.termination_wait_seconds] : wait >= 0 && wait <= 3600]), false
    )
    error_message = "deployment.wait_seconds and termination_wait_seconds are 0 to 3600."
  }

  validation {
    # SageMaker takes up to 8 hours, but after one the AWS provider gives up and leaves the update to itself:
    # https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/sagemaker/endpoint.go
    condition     = var.deployment == null || try(var.deployment.timeout_seconds >= 600 && var.deployment.timeout_seconds <= 3600, false)
    error_message = "deployment.timeout_seconds is 600 to 3600: Terraform waits an hour for an update, and must see how it ends."
  }

  validation {
    condition     = length(try(var.deployment.rollback_alarm_names, [])) <= 10
    error_message = "An update watches at most 10 alarms."
  }
}
