"""What the job service costs over HTTP, on a real PostgreSQL and a real Valkey."""
