"""Every method has its page, which says what the API says."""

import re
from pathlib import Path

import pytest

from app.recipes.methods import METHODS, ROUTE_METHODS
from benchmarks.quality.pruners import TABLE
from docs._ext import measured

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


@pytest.mark.parametrize("name", sorted({*METHODS, *ROUTE_METHODS}))
def test_every_page_has_a_formula_a_cost_and_a_use(name):
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert re.search(r"^(    \S|```text|\$\$)", page, re.MULTILINE)
    assert re.search(r"\bCost\b", page)
    assert re.search(r"\bWhen\b", page)


def row(pruner, sparsity, value, seed=0, **more):
    cell = dict.fromkeys(measured.PLAIN, 0) | {"subject": "a-model", "seed": seed}
    return {
        "cell": cell | {"pruner": pruner, "sparsity": sparsity} | more,
        "metric": "accuracy",
        "value": value,
    }


def test_a_page_ends_with_what_was_measured():
    rows = [row("dense", 0.0, 0.9), row("Wanda", 0.5, 0.4), row("Wanda", 0.5, 0.6, seed=1)]
    rows += [row("Wanda", 0.7, 0.1), row("LAMP", 0.5, 0.3), row("Wanda", 0.5, 0.0, task="other")]
    known = measured.figures(rows)
    section = measured.section("wanda", known)
    assert "| `a-model`, accuracy | dense | 50% | 70% |" in section
    assert "| Wanda | 0.900 | 0.500 | 0.100 |" in section
    assert "LAMP" not in section
    assert measured.section("snip", known) == ""
    assert measured.at_half("a-model", known) == {
        "dense": "0.900",
        "wanda": "0.500",
        "lamp": "0.300",
    }


@pytest.mark.parametrize("rows", [[], [row("Wanda", 0.7, 0.0)]])
def test_rows_may_be_missing(rows):
    known = measured.figures(rows)
    assert measured.at_half("a-model", known)["dense"] == "not measured"
    assert ("not measured" in measured.section("wanda", known)) is bool(rows)


def test_every_method_of_the_tables_has_figures():
    known = measured.figures()
    for method in {pruner.method for pruner in TABLE}:
        assert "## Measured" in measured.section(method, known), method
