"""What the last runs have found: kept in `results.json`, class by class, and told as tables."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.families.classes import KINDS, TARGETS

RECORD = Path(__file__).with_name("results.json")
PROCESSORS = RECORD.with_name("processors.json")
SMALLER = RECORD.with_name("smaller.json")
TABLE = Path(__file__).with_name("README.md")

METHODS = {
    "magnitude": ("magnitude", "unstructured"),
    "wanda": ("wanda", "unstructured"),
    "sparsegpt": ("sparsegpt", "2:4"),
    "ecoflap": ("ecoflap", "unstructured"),
    "multiflow": ("multiflow", "unstructured"),
}
CHECKS = ("reach", "statistics", "modalities", *METHODS)
OK = "ok"
DEFECT = "defect "  # begins a reason that is no refusal

Result = dict[str, Any]

_FED = """\
Every type of image-text-to-text models with the processor that transformers names for it, sized for
the tiny model, saved in files and loaded as a job loads it, on the default install (Pillow, no
torchvision, no timm): one record of image and text is encoded and runs through the model. What
needs torchvision was not tried: the registry's does not import beside a build of torch for CPUs.
"""

_HEAD = """\
# Families of models

`make bench-families` builds every class below tiny and random from its own configuration, saves it,
and takes it through a job's path: adapter, five methods, written back, verified, and read by plain
`from_pretrained`. Sums of squared inputs are held to those of plain forward hooks (within 1e-4),
Wanda's choice to that of hooks on the pruned model, modalities to what a change of pixels or words
changes. A class passes where all checks hold and recipes reach 90 % of the weights in blocks, with
bridges (embeddings, heads and convolutions left out). `ONLY=` takes patterns of names or kinds;
`TABLE=1` writes what was found into `results.json`, this page and
[the page for users](../../docs/reference/models.md).

A matrix that the inputs made here do not reach is pruned and verified, and has no sums to compare.

Measured on {days} with transformers {versions}. Shares: of the weights in blocks, bridges
taken in, and of all weights as recipes reach them by default. Two shared cores, load 3 to 6. Not
built: three families whose vision tower comes from timm, and one that needs scipy, neither of which
is installed. ResNet and EfficientNet are convolutions alone and refused in words.
"""


def read(path: Path = RECORD) -> dict[str, Result]:
    """Everything known, by the name of the class."""
    found: dict[str, Result] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write(found: Mapping[str, Result], path: Path = RECORD) -> None:
    """Put what was found in the place of what was known of the same classes; a line a class."""
    known = (read(path) if path.exists() else {}) | dict(found)
    order = [name for names in KINDS.values() for name in names if name in known]
    names = order or sorted(known)
    lines = [f"{json.dumps(name)}: {json.dumps(known[name])}" for name in names]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def passes(result: Result) -> bool:
    """Whether every check holds."""
    return bool(result["checks"]) and all(result["checks"].get(c) == OK for c in CHECKS)


def failed(result: Result) -> dict[str, str]:
    """Reasons by the checks that have them."""
    if result["built"] != OK:
        return {"not built": result["built"]}
    checks: dict[str, list[str]] = {}
    for check, why in result["checks"].items():
        if why != OK:
            checks.setdefault(why, []).append(check)
    return {", ".join(names): why for why, names in checks.items()}


def told(result: Result) -> str:
    """What came out, in one line."""
    reasons = [f"{checks}: {short(why)}" for checks, why in failed(result).items()]
    unfed = len(result.get("unseen", ()))
    return ("; ".join(reasons) or "passes") + (
        f" ({unfed} matrices get no input here)" if unfed else ""
    )


def made_smaller(result: Result) -> str:
    """What became of a smaller model of the class, in one line."""
    if result["built"] != OK:
        return f"not built: {short(result['built'])}"
    return "; ".join(f"{check} {short(why)}" for check, why in result["checks"].items())


def page() -> str:
    """The tables of this folder."""
    known, fed = read(), read(PROCESSORS)
    lines = [_HEAD.format(days=_all(known, "day"), versions=_all(known, "transformers")).rstrip()]
    for kind, names in KINDS.items():
        results = [known[name] for name in names if name in known]
        passed = sum(map(passes, results))
        lines += ["", f"## {kind}: {passed} of {len(names)} (target {TARGETS[kind]})", ""]
        lines += ["| class | blocks | all | result |", "|---|---|---|---|"]
        lines += [f"| {r['name']} | {' | '.join(shares(r))} | {told(r)} |" for r in results]
    able = [result for result in fed.values() if not result["needs"]]
    count = sum(result["told"] == OK for result in able)
    lines += ["", f"## processors: {count} of {len(able)} (target 72 of 77)", "", _FED.rstrip(), ""]
    lines += ["| type | result |", "|---|---|"]
    lines += [f"| {each['name']} | {fed_by(each)} |" for each in fed.values()]
    return "\n".join(lines) + "\n"


def fed_by(result: Result) -> str:
    """Whether a record of image and text feeds the type, in one line."""
    if result["needs"]:
        return f"needs {result['needs']}"
    fed = "fed with text, its class takes no pixels" if result["alone"] else "fed"
    return fed if result["told"] == OK else short(result["told"])


def shares(result: Result) -> tuple[str, str]:
    """Of the weights in blocks, and of all; empty where the class could not be built."""
    if "reached_blocks" not in result:
        return "", ""
    return f"{result['reached_blocks']:.1%}", f"{result['reached_all']:.1%}"


def _all(known: Mapping[str, Result], field: str) -> str:
    """Every value of a field, the last one last."""
    return _listed({result[field] for result in known.values()})


def _listed(values: Iterable[str]) -> str:
    return " and ".join(sorted(values))


def short(why: str) -> str:
    """A reason that fits a line of a table."""
    return why.replace("|", "/")[:110]
