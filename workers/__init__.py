"""The Secateur workers: Celery tasks, the pruning pipeline and the pruning library."""
