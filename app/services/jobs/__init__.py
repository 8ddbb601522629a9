"""Use cases of jobs, one transaction each."""
