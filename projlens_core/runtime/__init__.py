"""What every floor runs on: cache, device, progress, queues, atomic writes, paths, versions."""
