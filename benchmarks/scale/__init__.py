"""What many workers and many jobs ask of one PostgreSQL, one Valkey and one maintenance process."""
