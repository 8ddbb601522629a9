"""Peak memory, time and resume of runs on checkpoints larger than memory."""
