"""Tasks of evaluation harnesses, run by interpreters that have them on the files of both models."""
