"""Records to calibrate and to evaluate on, from wherever a job says."""
