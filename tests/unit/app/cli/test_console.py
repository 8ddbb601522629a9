"""Tables cut nothing, however narrow the terminal."""

import io

import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress

from app.cli import console
from app.cli.bars import bar_text

JOB = "job_019ab3f0c1d27b3c8f5e4d6a7b8c9d0e"
MESSAGE = "phase pruning begins with a sentence that is longer than the terminal is wide"


def shown(monkeypatch, width, *, terminal, message=MESSAGE):
    file = io.StringIO()
    file.isatty = lambda: terminal
    made = Console(file=file, width=width, soft_wrap=True, highlight=False, markup=False)
    monkeypatch.setattr(console, "out", made)
    monkeypatch.setattr("sys.stdout", file)
    rows = console.table("id", "status", "model", "message")
    rows.add_row(JOB, "cancelling", "models/a-long-name-of-a-model/with-a-path", message)
    console.show_table(rows)
    return file.getvalue()


@pytest.mark.parametrize("width", [20, 40, 80, 100, 300])
def test_no_word_is_cut_in_a_terminal(monkeypatch, width):
    said = shown(monkeypatch, width, terminal=True)
    words = said.split()
    assert JOB in words
    assert "cancelling" in words
    assert "models/a-long-name-of-a-model/with-a-path" in words
    assert set(MESSAGE.split()) <= set(words)


def test_rows_are_records_too():
    rows = console.table("method", "time")
    rows.add_row("wanda", "1.0 s")
    assert console.records(rows) == [{"method": "wanda", "time": "1.0 s"}]


@pytest.mark.parametrize("width", [60, 80])
def test_words_beside_a_bar_are_not_cut(width):
    block = "12/24 model.vision_tower.vision_model.encoder.layers.11.self_attention_and_more"
    made = Console(file=io.StringIO(), width=width)
    with Progress(BarColumn(), bar_text("{task.fields[what]}"), console=made) as bars:
        bars.add_task("pruning", what=block)
    said = made.file.getvalue()
    assert "\N{HORIZONTAL ELLIPSIS}" not in said
    assert block.replace(" ", "") in "".join(said.split()).replace(
        "\N{BOX DRAWINGS HEAVY HORIZONTAL}", ""
    )


def test_a_pipe_gets_a_line_a_row(monkeypatch):
    said = shown(monkeypatch, 80, terminal=False).splitlines()
    assert len(said) == 2
    assert said[1].startswith(JOB)
    assert said[1].rstrip().endswith(MESSAGE)


def test_a_message_of_two_lines_is_a_line_in_a_pipe(monkeypatch):
    said = shown(monkeypatch, 80, terminal=False, message="no answer\nlook at the log").splitlines()
    assert len(said) == 2
    assert said[1].rstrip().endswith("no answer look at the log")
