"""What a project has beside its jobs: one group of commands a module."""
