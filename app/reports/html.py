"""Sections as HTML, the page that stands alone, and pictures as files of their own.

Names in a report are of other people's models and data sets: every one is escaped.
"""

from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from app.recipes.pruning_report import TIMELINE
from app.reports.document import Picture, Section, Strip, fit

STYLES = files("app.reports") / "styles"
PICTURES_STYLE = (STYLES / "pictures.css").read_text(encoding="utf-8")
SECTIONS_STYLE = (STYLES / "sections.css").read_text(encoding="utf-8")
_PAGE_STYLE = (STYLES / "page.css").read_text(encoding="utf-8")


def _fit(value: Any) -> Any:
    return fit(value) if type(value) is str else value


def within(share: float) -> float:
    """A place that a picture has: 0..1, and 0 for what is no number."""
    return min(max(share, 0.0), 1.0) if share == share else 0.0  # noqa: PLR0124  NaN is not


def commands(sentence: str) -> Markup:
    """A sentence whose `commands` are set as such."""
    parts = fit(sentence).split("`")
    marked = [
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    ]
    return Markup("").join(marked)


_templates = Environment(
    loader=PackageLoader("app.reports"),
    autoescape=True,
    finalize=_fit,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters.update(commands=commands, within=within)


def _ours(text: str) -> Markup:
    """What templates have made, which escape, and what stands in files of ours."""
    return Markup(text)  # noqa: S704


def _render(template: str, **values: Any) -> Markup:
    return _ours(_templates.get_template(template).render(values))


def as_html(sections: Iterable[Section]) -> Markup:
    """The sections, for a page that has the style sheets of pictures and sections."""
    return _render("sections.html", sections=list(sections))


def strip_as_html(strip: Strip) -> Markup:
    """A strip alone, for a page that has these style sheets."""
    return _render("strip.html", strip=strip)


def page(title: str, sections: Iterable[Section]) -> str:
    """A whole page, which runs and loads nothing; `with_history` adds what it does not tell.

    Args:
        title: what was pruned, and how.
        sections: of it.
    """
    style = _ours(PICTURES_STYLE + SECTIONS_STYLE + _PAGE_STYLE)
    told = {"sections": as_html(sections), "timeline": _ours(TIMELINE)}
    return str(_render("page.html", title=title, style=style, **told))


def with_history(page: str, sections: Iterable[Section]) -> str:
    """A written page with what happened in it; one of an earlier version gets the colours too."""
    added = as_html(sections)
    if PICTURES_STYLE not in page:
        added = Markup("<style>{}</style>{}").format(_ours(PICTURES_STYLE), added)
    return page.replace(TIMELINE, added)


def svg(picture: Picture) -> str:
    """A picture that stands alone."""
    return str(_render("picture.svg", picture=picture, style=_ours(PICTURES_STYLE)))
