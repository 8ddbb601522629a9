"""Files of a job."""
