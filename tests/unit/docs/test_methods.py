"""Every method has its page, which says what the API says."""

from pathlib import Path

import pytest

from app.domain.methods import METHODS, ROUTE_METHODS

PAGES = Path(__file__).parents[3] / "docs/methods"


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_has_a_page(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert page.lower().startswith(f"# {name}\n")
    assert "arXiv" in page
    if METHODS[name].updates_weights:
        assert "Surviving weights change" in page


@pytest.mark.parametrize("name", sorted(ROUTE_METHODS))
def test_every_router_has_a_page(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert page.lower().startswith(f"# {name}\n")
    assert "arXiv" in page


def test_every_page_has_a_method():
    assert {page.stem for page in PAGES.glob("*.md")} <= {"index", *METHODS, *ROUTE_METHODS}
