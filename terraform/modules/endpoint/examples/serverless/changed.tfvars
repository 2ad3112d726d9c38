memory_size_mb = 4096
