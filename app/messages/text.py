"""Text from elsewhere, made fit to be stored and shown."""


def printable(text: str, most: int) -> str:
    """The text as a database, a log and a terminal can hold it: one line, cut to a length."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:most])[:most]
