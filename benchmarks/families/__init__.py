"""Every family of models that transformers can build, through a job's path."""
