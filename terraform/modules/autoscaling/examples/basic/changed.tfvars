max_capacity = 4
target_value = 2
