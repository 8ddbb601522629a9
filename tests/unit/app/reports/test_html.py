"""Sections in HTML: what a report holds is on its page, which stands alone whatever names say."""

import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given

from app.recipes.pruning_report import TIMELINE
from app.reports import html
from app.reports.document import Axes, Axis, Bar, Bars, Section, Text, Tone, pictures
from app.reports.markdown import as_markdown
from app.reports.sections import sections
from tests.unit.app.reports.made import EVIL, reported, results, said

SVG = "{http://www.w3.org/2000/svg}"
OURS = {
    *("section", "h2", "p", "code", "ul", "li", "div", "table", "thead", "tbody", "tr", "th", "td"),
    *("small", "details", "summary", "span", "svg", "g", "text", "tspan", "rect", "path"),
    *("circle", "title"),
}


@pytest.fixture
def page():
    return html.page(f"model {EVIL}", said(reported()))


def drawn(picture):
    return ET.fromstring(html.svg(picture))


def picture(name):
    [found] = [
        each
        for section in said(reported())
        for each in pictures(section.blocks)
        if each.name == name
    ]
    return drawn(found)


def bars(svg):
    return [each for each in svg.iter(f"{SVG}rect") if each.find(f"{SVG}title") is not None]


def test_a_bar_per_block_in_the_colour_of_its_part_with_a_mark_at_what_was_asked():
    svg = picture("sparsity")
    assert [float(bar.get("width")) for bar in bars(svg)] == [150, 225]
    assert [bar.get("class") for bar in bars(svg)] == ["fill-vision", "fill-language"]
    texts = [each.text for each in svg.iter(f"{SVG}text")]
    assert texts[:4] == [
        "Zeros of every block, % of its weights",
        "vision",
        "language",
        "asked for",
    ]
    assert texts[4:] == ["vision.0", "50 %", EVIL, "75 %"]
    marks = [each.get("d") for each in svg.iter(f"{SVG}path") if each.get("class") == "mark"]
    assert marks[1:] == ["M404.0 47v17", "M404.0 67v17"]  # after the legend's: half of 300


def test_scores_and_quality_are_drawn():
    assert [float(bar.get("width")) for bar in bars(picture("scores"))] == [37.5, 37.5]
    svg = picture("quality")
    assert [each.get("cx") for each in svg.iter(f"{SVG}circle")] == ["350.0", "350.0"]
    assert len([each for each in svg.iter(f"{SVG}path") if each.get("class") == "interval"]) == 3


def test_numbers_of_the_report_are_on_the_page(page):
    for shown in (
        *("62.5 %", "1\u202f000 bytes", "sends 600 (60 %)", "accuracy", "higher is better"),
        "0.5<small>0.25 to 0.75</small>",
        "100 were asked for, +25 to them",
        *("25 % of the model&#39;s 800 weights", "100 % of those in blocks", "15.62 %"),
        *("Left dense (1)", "75 %", "Every block (2)", "Every matrix (2)", "10 \u00d7 10"),
        *("vision.0: 50 % zero", "<td>red</td><td>red</td><td>mauve</td>"),
    ):
        assert shown in page, shown


def test_nothing_is_loaded_and_nothing_runs(page):
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    for loading in ("src=", "href=", "url(", "@import"):
        assert loading not in page


def test_a_page_has_the_sections_that_a_part_of_another_has(page):
    assert str(html.as_html(said(reported()))) in page


def test_the_same_report_has_the_same_page(page):
    assert html.page(f"model {EVIL}", said(reported())) == page


def test_what_happened_is_added_and_an_earlier_page_gets_the_colours(page):
    added = [Section("happened", "What happened", [Text(f"`a` {EVIL}", Tone.BAD)])]
    text = html.with_history(page, added)
    assert '<p class="notice bad"><code>a</code> &lt;script&gt;' in text
    assert TIMELINE not in text
    assert text.count("--dense:") == 2  # light and dark
    earlier = html.with_history(f"<h1>here</h1>{TIMELINE}<p>there</p>", added)
    assert earlier.startswith("<h1>here</h1><style>")
    assert earlier.endswith("</section>\n<p>there</p>")


class Seen(HTMLParser):
    """Elements and texts, as a browser reads them."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.texts = Counter(), set(), []

    def handle_starttag(self, tag, attributes):
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.texts.append(data)


@given(results)
def test_whatever_names_and_figures_there_are(result):
    said = sections(result)
    part = html.as_html(said)
    seen = Seen()
    seen.feed(part)
    assert seen.tags.keys() <= OURS
    assert not {each for each in seen.attributes if each.startswith(("on", "style", "src", "href"))}
    ET.fromstring(f"<main>{part}</main>")
    for section in said:
        for each in pictures(section.blocks):
            drawn(each)
    card = as_markdown(said)
    assert "<" not in card
    assert card.encode().decode() == card


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.5])
def test_a_bar_stays_in_its_picture(value):
    bar = Bar("x" * 100, "1", "score", value, mark=value, interval=(value, value))
    svg = drawn(Bars("b", "label", [bar]))
    [found] = bars(svg)
    assert 1 <= float(found.get("width")) <= 300
    label = [each.text for each in svg.iter(f"{SVG}text")][1]
    assert label == "\u2026" + "x" * 33


def test_pictures_alone_bring_their_colours():
    text = html.svg(Axes("a", "label", [Axis("m", "", [], [])], []))
    assert "<style>" in text
    assert "--dense" in text
    assert 'xmlns="http://www.w3.org/2000/svg"' in text
