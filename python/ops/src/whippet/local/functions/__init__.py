"""Lambda: functions, and the environments that run them."""
