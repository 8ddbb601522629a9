"""What the service's queries take in a database of a million jobs, beside one of ten thousand."""
