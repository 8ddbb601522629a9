"""The modules that the page on architecture lists, as a job runs through them."""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/explanation/architecture.md"


def documented_modules():
    """Their names, without the top package."""
    return set(PAGE.read_text().partition("## The modules")[2].split())
