"""What a job will take, from the model's files without its weights."""
