"""Records as a model's inputs."""
