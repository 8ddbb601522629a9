"""What runs the results of jobs: does it load them, are they smaller there, are they faster."""
