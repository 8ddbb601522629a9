"""Sentences for clients, made from what other libraries say."""
