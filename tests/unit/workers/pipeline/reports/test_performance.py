"""Readers are told what was measured, on what, and how sure it is; or why it was not."""

from app.recipes.performance import NotMeasured
from tests.unit.app.recipes.test_performance import PERFORMANCE
from workers.pipeline.reports.performance import as_markdown


def test_every_figure_is_told_with_what_it_holds_for():
    text = "\n".join(as_markdown(PERFORMANCE))
    assert "| bytes of the weights in use | 1,000 | 750 | 0.750 |" in text
    assert "| bytes of memory at most | 5,000 | 4,500 | 0.900 |" in text
    assert "| seconds to the first token | 2 | 1 | 0.500 [0.500, 0.500] |" in text
    assert "| seconds of each further token | 0.25 | 0.1875 | 0.750 [0.500, 1.000] |" in text
    assert "512 tokens and an image of 448 x 448 pixels (100 of the tokens), 32 tokens" in text
    assert "3 rounds in turns, each loaded anew for every round" in text
    assert "75.0%" in text


def test_what_was_not_measured_says_why():
    (text, _) = as_markdown(NotMeasured(code="measuring_failed", reason="it fell over"))
    assert "it fell over (measuring_failed)" in text
