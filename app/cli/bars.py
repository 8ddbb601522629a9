"""What stands beside progress bars."""

from rich.progress import TextColumn
from rich.table import Column


def bar_text(text: str) -> TextColumn:
    """A column of words; a narrow terminal breaks them, and cuts nothing.

    Args:
        text: a format, as `TextColumn` has it.
    """
    return TextColumn(text, table_column=Column(overflow="fold"))
