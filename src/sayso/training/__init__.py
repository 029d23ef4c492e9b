"""The loop, its guards, checkpoints, schedules and callbacks."""
