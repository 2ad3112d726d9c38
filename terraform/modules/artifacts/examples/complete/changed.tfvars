data_capture_days = 21
