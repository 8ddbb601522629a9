"""What can go wrong on this machine; the message says what to do."""


class LocalError(Exception):
    """A process of the local set-up cannot be started or kept running."""
