# Local AWS, `whippet local up`: everything on, nothing kept.
environment   = "local"
local_aws_url = "http://127.0.0.1:4566"

artifacts_force_destroy  = true
artifacts_retention_days = null # nothing lives long enough to expire
create_training_instance = true
create_notebook          = true
log_retention_days       = 1
