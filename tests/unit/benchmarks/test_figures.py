"""A figure that misses its target fails the benchmark."""

import json

import pytest

from benchmarks.figures import Figure, conclude


@pytest.mark.parametrize(
    ("figure", "ok"),
    [
        (Figure(1.0), True),
        (Figure(1.0, most=1.0), True),
        (Figure(1.1, most=1.0), False),
        (Figure(1.0, least=1.0), True),
        (Figure(0.9, least=1.0), False),
        (Figure(float("nan"), least=1.0), False),
    ],
)
def test_a_figure_reaches_its_target_or_fails_the_run(figure, ok, capsys):
    assert conclude({"memory": figure, "other": Figure(3)}) == (0 if ok else 1)
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert rows["memory"]["ok"] is ok
    assert rows["memory"]["target"] == figure.target
    assert rows["other"] == {"value": 3, "target": None, "ok": True}
