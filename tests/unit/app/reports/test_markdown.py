"""Sections in Markdown: the same sentences and tables, links to pictures, nothing that is HTML."""

from app.reports.document import Bars, Cell, Details, Items, Section, Table, Text, Tone
from app.reports.markdown import as_markdown
from tests.unit.app.reports.made import reported, said


def test_every_kind_of_block():
    table = Table.of(("name", "count", "why"), [("a|b", Cell("1", "of 2"), "<b>")], words={"why"})
    picture = Bars("bars", "Bars of it", [])
    text = as_markdown(
        [
            Section("one", "One", [Text("plain"), Text("bad", Tone.BAD), Items(["x", "y\nz"])]),
            Section("two", "Two", [table, Details("more", [Text("hidden"), picture])]),
            Section("three", "Three", [Details("more", [table])]),
        ]
    )
    assert text.split("\n\n") == [
        "## One",
        "plain",
        "**bad**",
        "- x\n- y z",
        "## Two",
        "| name | count | why |\n| --- | ---: | --- |\n| a\\|b | 1 (of 2) | &lt;b> |",
        "![Bars of it](plots/bars.svg)",
    ]


def test_a_report():
    text = as_markdown(said(reported()))
    assert "The pruned matrices hold 25 % of the model's 800 weights (100 % of those in" in text
    assert "15.62 % of the whole model is zero" in text
    assert "| accuracy | 8 | 0.5 (0.25 to 0.75) |" in text
    assert "![Zeros of every block, % of its weights](plots/sparsity.svg)" in text
    assert "Every matrix" not in text
