"""What people read about a job: card, page and plots."""
