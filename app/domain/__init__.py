"""Pure domain: recipes, the job state machine, artifacts, errors. No I/O, no frameworks."""
