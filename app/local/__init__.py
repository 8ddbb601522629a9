"""PostgreSQL and Valkey from wheels, and the supervisor that runs a whole Secateur beside them."""
