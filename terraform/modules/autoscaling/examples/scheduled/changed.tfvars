target_value = 900
day_capacity = 3
