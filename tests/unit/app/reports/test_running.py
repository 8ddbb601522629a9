"""Readers are told what was measured, on what, and how sure it is; or why it was not."""

from app.recipes.performance import NotMeasured
from app.reports.document import Table, Text
from app.reports.running import performance
from tests.unit.app.recipes.test_performance import PERFORMANCE


def test_every_figure_is_told_with_what_it_holds_for():
    table, note = performance(PERFORMANCE).blocks
    assert isinstance(table, Table)
    assert [[(cell.text, cell.small) for cell in row] for row in table.rows] == [
        [("Weights in use", ""), ("1 kB", "1\u202f000 B"), ("750 B", "750 B"), ("0.75", "")],
        [("Memory at most", ""), ("5 kB", "5\u202f000 B"), ("4.5 kB", "4\u202f500 B"), ("0.9", "")],
        [("To the first token", ""), ("2000 ms", ""), ("1000 ms", ""), ("0.5", "0.5 to 0.5")],
        [("Each further token", ""), ("250 ms", ""), ("187.5 ms", ""), ("0.75", "0.5 to 1")],
    ]
    assert isinstance(note, Text)
    for told in (
        "512 tokens and an image of 448 \u00d7 448 pixels (100 of the tokens), 32 tokens",
        "3 rounds in turns, each loaded anew for every round",
        "75 %",
    ):
        assert told in note.text


def test_what_was_not_measured_says_why():
    [text] = performance(NotMeasured(code="measuring_failed", reason="it fell over")).blocks
    assert "it fell over (`measuring_failed`)" in text.text
