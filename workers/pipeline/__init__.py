"""What happens to a model: stages as functions. No database, no Celery, no HTTP server."""
