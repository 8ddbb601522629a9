"""Writes the page on models, from what `make bench-families` has recorded and from the code."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from app.planning.routable import LAYERS_ONLY, REASONS, TOKENS_AND_LAYERS
from benchmarks.families import record
from benchmarks.families.classes import KINDS
from benchmarks.families.record import METHODS, OK, Result
from workers.pruning.models.families.registry import known_adapters

PAGE = Path(__file__).parents[1] / "reference/models.md"
_TITLES = {
    "image-text-to-text": "Images and texts in, text out",
    "dual": "Images beside texts",
    "text": "Text",
    "vision": "Images",
}
_FED = {"image-text-to-text"}
_HEAD = """\
# Models

Whether a model works: look its class up, which `config.json` names under `architectures`. {passed} of
the {count} classes below pass every check. They are tried by `make bench-families`, tiny and random,
with transformers {versions} (last on {day}). `python -m docs._ext.models` writes this page from what that
recorded and from the code.

- **works**: yes, where the whole path of a job does: five methods, written back, verified, read by plain
  `from_pretrained`, input statistics and masks as plain forward hooks give them, and every part of the
  model called what it is. "partly" and "no" say why at the end of the section.
- **reached**: share of the weights in blocks that recipes prune, projectors taken in (embeddings, output
  heads and convolutions are left out). A job's plan tells the share of *your* model.
- **methods**: those that pass, of {methods}. The other methods read the
  same weights and statistics. SparseGPT is tried with `2:4`, the others unstructured; [which pattern is for
  which method](methods.md).
- **parts**: what `sparsity` may be given for; a bridge (projector, Q-Former) is pruned with `include_bridge`.
- **adapter**: the family's own, which says where the parts are and what reads them, so that every part
  runs once for each calibration batch; or `generic`, which finds the parts by the names of the modules and
  by what their classes say they read, and runs the vision tower again for the parts after it; a job says
  so in its warnings. Where three forwards of a batch are cheap
  (parameters x tokens up to 10^11: a few hundred million parameters, never a 7B), a job also changes pixels
  and words, looks which parts notice, and warns where that is not what a part is called.
- **processor**: whether records of images and texts feed it on a default install; "with `vision`" where
  transformers has no Pillow form of its image processor, or its vision tower is timm's: install the extra
  `vision` (the images of workers have it). A plan says so before anything is queued.
- **PAR**: whether [image tokens and layers](../methods/par.md) can be routed per prompt.

A class that is not listed takes the generic adapter, unless it needs code of its own from the checkpoint,
which never runs. `POST /v1/plans` tells what a job would reach, without queueing it.
"""

_SMALLER = """\
What of the same classes a job takes out, or stores in [8 bits](../how-to/use-the-result.md): half of the
[MLP channels and of the heads](../methods/width.md), half of the [blocks](../methods/depth.md), a quarter of
the [experts](../methods/experts.md). "yes": plain `from_pretrained` loads the files with nothing missing or left
over, computes what the whole model does with zeros in the place of what went (within 1e-5 of the largest output), and
generates where the dense one does; in 8 bits, no zero is anything else. A code: it is refused by name, and no
file has changed. "late": the job refuses it once it has loaded the smaller files. "no": it fails in another way; why is
below. "-": there are no experts. Of hybrids, these tiny models have a layer of each kind and no more, so none of
them can go (`structure_share_out_of_reach`), which real depths do not tell.
"""
_ABSENT = "has experts that a router chooses among"


def write() -> None:
    """Write the page; one that says the same already is left alone."""
    text = page()
    if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        PAGE.parent.mkdir(exist_ok=True)
        PAGE.write_text(text, encoding="utf-8")


def page(known: Mapping[str, Result] | None = None) -> str:
    """The text of the page, from those results or from the record."""
    known = record.read() if known is None else known
    fed = record.read(record.PROCESSORS)
    passed = sum(map(record.passes, known.values()))
    parts = [
        _HEAD.format(
            passed=passed,
            count=len(known),
            versions=_last(known, "transformers"),
            day=_last(known, "day"),
            methods=", ".join(METHODS),
        ).rstrip()
    ]
    for kind, names in KINDS.items():
        results = [known[name] for name in names]
        parts += [f"## {_TITLES[kind]}", _table(results, fed if kind in _FED else None)]
        if odd := [result for result in results if not record.passes(result)]:
            parts.append("\n".join(f"- `{each['name']}`: {record.told(each)}" for each in odd))
    parts += ["## Made smaller", _SMALLER.rstrip(), _smaller()]
    parts.append("## No PAR, and why")
    parts.append("\n".join(f"- `{name}`: {why}." for name, why in sorted(REASONS.items())))
    if others := sorted(known_adapters().keys() - known.keys()):
        told = "Not counted above, in the tests of this project with an adapter of their own"
        parts += ["## Others", f"{told}: {', '.join(f'`{name}`' for name in others)}."]
    return "\n\n".join(parts) + "\n"


def _table(results: Iterable[Result], fed: Mapping[str, Result] | None) -> str:
    head = ["class", "`model_type`", "works", "reached", "methods", "parts", "adapter", "PAR"]
    lines = [list(_cells(result)) for result in results]
    if fed is not None:
        head.append("processor")
        for line, result in zip(lines, results, strict=True):
            line.append(_processor(fed[result["type"]]))
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def _smaller() -> str:
    """Step by step what can be taken out of each class."""
    known = record.read(record.SMALLER)
    built = [each for each in known.values() if each["checks"]]
    head = ["class", *next(iter(built))["checks"]]
    lines = [[f"`{each['name']}`", *map(_step, each["checks"].values())] for each in built]
    table = "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))
    odd = [
        f"- `{each['name']}`, {check}: {record.short(why.removeprefix(record.DEFECT))}"
        for each in built
        for check, why in each["checks"].items()
        if why.startswith(record.DEFECT)
    ]
    return "\n\n".join([table, "\n".join(odd)] if odd else [table])


def _step(why: str) -> str:
    if why == OK:
        return "yes"
    if why.startswith(record.DEFECT):
        return "no"
    if _ABSENT in why:
        return "-"
    late = "late " if why.startswith("late ") else ""
    return f"{late}`{why.removeprefix('late ').partition(':')[0]}`"


def _processor(result: Result) -> str:
    told = record.fed_by(result)
    if result["needs"]:
        return "with `vision`"
    return told.replace("fed", "yes", 1) if told.startswith("fed") else f"no: {told}"


def _cells(result: Result) -> Iterator[str]:
    name = result["name"]
    yield f"`{name}`"
    yield f"`{result['type']}`"
    yield _works(result)
    yield record.shares(result)[0]
    good = [method for method in METHODS if result["checks"].get(method) == OK]
    yield "all" if len(good) == len(METHODS) else ", ".join(good) or "none"
    towers = dict.fromkeys(tower[0] for tower in result.get("towers", {}).values())
    yield ", ".join([*towers, *(["bridge"] if result.get("bridges") else [])])
    own = known_adapters().get(name)
    yield f"`{own.__module__.rpartition('.')[2]}`" if own else "generic"
    yield "yes" if name in TOKENS_AND_LAYERS else "layers" if name in LAYERS_ONLY else "no"


def _works(result: Result) -> str:
    if record.passes(result):
        return "yes"
    if result["built"] != OK:
        return "not tried"
    return "partly" if any(result["checks"].get(m) == OK for m in METHODS) else "no"


def _last(known: Mapping[str, Result], field: str) -> str:
    return max(result[field] for result in known.values())


if __name__ == "__main__":
    write()
    record.TABLE.write_text(record.page(), encoding="utf-8")
