"""Sending webhooks: signatures, the address guard, HTTP."""
