"""What a change of a job's status brings about."""
