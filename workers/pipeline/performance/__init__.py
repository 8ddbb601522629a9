"""What the result takes to run beside the dense model; a process for each, which take turns."""
