"""Reads uploaded data sets and trusts none of it: rows, archives, images."""
