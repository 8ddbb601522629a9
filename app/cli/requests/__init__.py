"""Requests from options and files."""
