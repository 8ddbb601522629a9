"""Publications: what follows a success, and the transfer of files."""
