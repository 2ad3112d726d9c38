endpoint_name           = "more-dogs"
memory_size             = 512
timeout                 = 20
environment_variables   = { WHIPPET_MAX_PHOTO_BYTES = "5000000" }
allowed_url_hosts       = ["images.example.org", "*.example.com"]
photo_prefix            = "album"
reserved_concurrency    = 12
provisioned_concurrency = { min = 2, max = 4, target_utilization = 0.6 }
allow_origins           = ["https://www.example.org", "https://app.example.org"]
maximum_retry_attempts  = 0
queue_retention_days    = 3
enable_xray             = false
log_retention_days      = 7
