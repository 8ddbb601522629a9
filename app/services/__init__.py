"""Use cases. Each function does its work inside the transaction of the connection it is given."""
