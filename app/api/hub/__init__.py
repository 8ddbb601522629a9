"""Reads as the Hugging Face Hub answers them."""
