"""Celery processes: claim a job, hold its lease, end in time."""
