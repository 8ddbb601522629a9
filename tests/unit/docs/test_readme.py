"""The README is short, its links lead to files, its figures are those of the page on methods."""

import re

import pytest

from docs._ext.reference import ROOT

LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
FIGURE = re.compile(r"(?<!\d)\.\d{3}\b")


def test_the_readme_fits_two_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files(name):
    links = LINK.findall((ROOT / name).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert links or name != "README.md"


def test_the_decision_table_has_the_figures_of_the_whole_one():
    figures = FIGURE.findall((ROOT / "README.md").read_text())
    assert len(figures) > 5
    whole = FIGURE.findall((ROOT / "docs/methods/index.md").read_text())
    assert set(figures) <= set(whole)


def test_the_first_page_can_take_the_table_from_the_readme():
    readme, index = ((ROOT / name).read_text() for name in ("README.md", "docs/index.md"))
    begin, end = re.findall(r":(?:start-after|end-before): (.*)", index)
    assert FIGURE.findall(readme.partition(begin)[2].partition(end)[0]) == FIGURE.findall(readme)
