"""Application Auto Scaling: policies that follow alarms, and schedules."""
