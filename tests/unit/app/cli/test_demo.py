"""What the demo prints fits a terminal of 100 columns, cut nowhere."""

import pytest

from app.cli.console import show_table
from app.cli.demo import scenes

ESTIMATE = {"value": 0.978, "low": 0.944, "high": 1.0}
QUESTIONS = (
    *("read the digits .", "what is in the bottom-center ?", "which colour is the cross ?"),
    *("how many circles ?", "is the white 7 left or right of the white circle ?"),
)


def job(metrics=("accuracy", "agreement")):
    measured = {name: {"before": ESTIMATE, "after": ESTIMATE} for name in metrics}
    return {"result": {"evaluation": {"metrics": measured}, "seconds": 100.0}}


@pytest.fixture
def lines(capsys):
    def shown(table):
        show_table(table)
        return capsys.readouterr().out.splitlines()

    return shown


def test_every_way_has_a_row_below_the_dense_model(lines):
    jobs = {name: job() for name in (*scenes.ZEROS, "width")} | {"par": job(["accuracy"])}
    found = lines(scenes._table(jobs))
    assert max(map(len, found)) <= 100
    rows = [line.split("│")[1].strip() for line in found if line.startswith("│")]
    assert rows == ["dense", *jobs]


def test_answers_fit_whatever_the_questions(lines):
    names = ["dense", *scenes.ZEROS, "width"]
    said = ["white triangle"] * len(names)
    asked = [{"question": each, "right": "white triangle", "said": said} for each in QUESTIONS]
    found = lines(scenes._answers(asked, names))
    assert max(map(len, found)) <= 100
    assert not any("…" in line for line in found)
