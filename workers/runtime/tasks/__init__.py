"""Celery tasks: each hands its message to the runner."""
