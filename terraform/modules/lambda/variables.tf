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
  description = "Path of the deployment zip that scripts/build_lambda.py wrote, relative to the folder Terraform runs in. New bytes deploy; a new date alone does not."
  type        = string

  validation {
    condition     = endswith(var.package, ".zip")
    error_message = "Lambda takes a .zip, as scripts/build_lambda.py writes it."
  }
}

variable "handler" {
  description = "Module and function that Lambda calls."
  type        = string
  default     = "whippet_lambda.handler.handler"
}

variable "runtime" {
  description = "Lambda runtime of the function."
  type        = string
  default     = "python3.12"

  validation {
    condition     = contains(["python3.11", "python3.12", "python3.13"], var.runtime)
    error_message = "The handler runs on python3.11, python3.12 or python3.13."
  }
}

variable "architecture" {
  description = "Processor of the function. arm64 costs a fifth less; the zip holds Python only, so it runs on both."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "Lambda runs on arm64 or x86_64."
  }
}

variable "memory_size" {
  description = "Memory of one environment in MB; the share of a processor grows with it."
  type        = number
  default     = 256

  validation {
    condition     = var.memory_size >= 128 && var.memory_size <= 10240
    error_message = "Lambda gives 128 to 10240 MB."
  }
}

variable "timeout" {
  description = "Seconds after which Lambda ends a call. The handler's own time limits stay below it."
  type        = number
  default     = 30

  validation {
    condition     = var.timeout >= 3 && var.timeout <= 900
    error_message = "Choose 3 to 900 seconds: below 3 there is no time left to ask the endpoint."
  }
}

variable "reserved_concurrency" {
  description = "Most calls answered at once; further callers get 429. Reserving is free, but AWS keeps 100 of the account's quota unreserved, so a new account with a low quota cannot reserve any. -1 reserves nothing."
  type        = number
  default     = 5

  validation {
    condition     = var.reserved_concurrency == -1 || (var.reserved_concurrency >= 1 && floor(var.reserved_concurrency) == var.reserved_concurrency)
    error_message = "Reserve a whole number of calls, at least 1, or -1 for no reservation (0 would refuse every call)."
  }
}

variable "endpoint_name" {
  description = "Name of the SageMaker endpoint that the function asks."
  type        = string
}

variable "endpoint_arn" {
  description = "ARN of that endpoint: the only one that the function's role may invoke."
  type        = string

  validation {
    condition     = can(regex("^arn:[^:]+:sagemaker:[^:*]+:\\d{12}:endpoint/[^*]+$", var.endpoint_arn))
    error_message = "Give the ARN of one endpoint, without wildcards."
  }
}

variable "allowed_url_hosts" {
  description = "Hosts that {\"url\": ...} events may name. Empty turns such events off."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for host in var.allowed_url_hosts : can(regex("^(\\*\\.)?([a-z0-9]([a-z0-9-]*[a-z0-9])?\\.)+[a-z]([a-z0-9-]*[a-z0-9])?$", host))])
    error_message = "Give host names in lower case, such as images.example.org or *.example.org: no scheme, port, path or IP address."
  }
}

variable "photo_read_arns" {
  description = "ARN patterns of the S3 objects that {\"s3\": ...} events may name, such as arn:aws:s3:::BUCKET/photos/*. Empty turns such events off."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.photo_read_arns : can(regex("^arn:[^:]+:s3:::[^/*]+/.+$", arn))])
    error_message = "Each entry must name objects of one bucket, such as arn:aws:s3:::BUCKET/photos/*."
  }
}

variable "create_function_url" {
  description = "Give the function an HTTPS URL. Callers sign their requests (AWS_IAM)."
  type        = bool
  default     = false
}

variable "log_retention_days" {
  description = "Days that the function's logs are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "CloudWatch Logs keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653 days."
  }
}
