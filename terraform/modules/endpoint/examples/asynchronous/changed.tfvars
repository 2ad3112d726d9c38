concurrency = 8
