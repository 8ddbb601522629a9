"""Use cases of projects, keys and quotas."""
