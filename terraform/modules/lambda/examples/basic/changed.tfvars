memory_size          = 512
reserved_concurrency = 8
