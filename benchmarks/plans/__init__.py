"""What plans say, against what jobs take."""
