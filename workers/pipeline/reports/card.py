"""What readers of an artifact get: a model card (README.md), a page in HTML, and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.domain.submission import JobSpec
from app.planning.model_files.files import HubModel, parse_model_source
from app.recipes.pruning_report import PAGE_FILE, PruningReport
from app.reports import html
from app.reports.document import Section, pictures
from app.reports.markdown import FOLDER, as_markdown

CARD = "README.md"
_LICENCE = ("license", "license_name", "license_link")
# The records may not be for everybody; on a hub, a card is.
_NOT_ON_THE_CARD = {"answers"}


def read_licence(source: Path) -> dict[str, str]:
    """What the card of the base model says about its licence; it is that of the pruned one too."""
    try:
        text = (source / CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    if not text.startswith("---\n"):
        return {}
    head = text.removeprefix("---\n").partition("\n---")[0]
    lines = (line.partition(":") for line in head.splitlines())
    found = {name.strip(): value.strip() for name, _, value in lines if not name.startswith(" ")}
    return {name: found[name] for name in _LICENCE if found.get(name)}


def base_name(spec: JobSpec) -> str:
    """The base model's name, whatever revision or directory it came from."""
    source = parse_model_source(spec.model)
    return source.repo_id if isinstance(source, HubModel) else Path(spec.model).name


@dataclass(frozen=True, slots=True)
class Front:
    """What hubs read of a card.

    Attributes:
        title: what was pruned, and how.
        base: the base model's name; None where it is on no hub.
        tags: of the result.
        licence: metadata of the base model's card.
    """

    title: str
    base: str | None
    tags: Sequence[str]
    licence: Mapping[str, str]

    @classmethod
    def of(cls, spec: JobSpec, report: PruningReport, licence: Mapping[str, str]) -> "Front":
        """That of pruned weights."""
        on_hub = isinstance(parse_model_source(spec.model), HubModel)
        tags = ["pruned"]
        tags += ["sparse"] if report.matrices else []
        tags += ["compressed-tensors"] if report.quantization else []
        base, title = base_name(spec), f"{base_name(spec)}, pruned with {spec.method}"
        return cls(title, base if on_hub else None, [*tags, spec.method], licence)

    @property
    def lines(self) -> list[str]:
        """The metadata, with the lines around it."""
        named = [f"{name}: {value}" for name, value in self.licence.items()]
        based = [f"base_model: {self.base}"] if self.base else []
        tags = [f"- {tag}" for tag in self.tags]
        return ["---", "library_name: transformers", *named, *based, "tags:", *tags, "---"]


def write_reports(
    directory: Path, front: Front, sections: Sequence[Section], last: Sequence[str] = ()
) -> None:
    """Write card, page and pictures beside the checkpoint.

    Args:
        directory: the staged files.
        front: of the card.
        sections: what there is to say.
        last: paragraphs at the end of the card, in Markdown.
    """
    card = [each for each in sections if each.name not in _NOT_ON_THE_CARD]
    body = [f"# {front.title}", as_markdown(card), *last]
    text = "\n".join([*front.lines, "", "\n\n".join(body), ""])
    (directory / CARD).write_text(text, encoding="utf-8")
    page = html.page(front.title, sections)
    (directory / PAGE_FILE).write_text(page, encoding="utf-8")
    (directory / FOLDER).mkdir()
    for picture in (each for section in sections for each in pictures(section.blocks)):
        (directory / FOLDER / f"{picture.name}.svg").write_text(html.svg(picture), encoding="utf-8")


def how_it_was_made(spec: JobSpec, report: PruningReport) -> list[str]:
    """The end of the card of pruned weights: its calibration, and how to go on."""
    told = [
        _calibration(spec),
        "The recipe and every matrix are in `pruning_report.json`.",
        "To make the same files again: `secateur reproduce manifest.json`.",
    ]
    if report.matrices:
        told.append("To train on with the zeros kept, see `sparse/keep_sparse.py`.")
    return told


def _calibration(spec: JobSpec) -> str:
    if spec.calibration is None:
        return "No calibration data was used."
    told = f"Calibrated on {spec.calibration.samples} records of `{spec.calibration.set}`"
    chosen = spec.calibration.tokens in {"atv", "amia"}
    return f"{told}, on tokens chosen by `{spec.calibration.tokens}`." if chosen else f"{told}."
