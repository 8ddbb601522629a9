"""Worker classes."""
