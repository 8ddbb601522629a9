"""What more workers bring to one job and to a sweep."""
