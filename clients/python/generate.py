"""Writes what of the package is made from other files; `--check` compares.

`models.py` comes from the OpenAPI document, `_sync/` from `_async/`, `unpack.py` from `app/packed`.

python clients/python/generate.py [--check]
"""

import argparse
import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import unasync

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = HERE / "secateur_client"
# Fields that `prune` and `sweep` take by themselves.
OPTIONS = {
    "JobOptions": ("JobRequest", {"model", "calibration", "evaluation"}),
    "SweepOptions": ("SweepRequest", {"model", "calibration", "evaluation", "methods"}),
}
NOUNS = ("Client", "Datasets", "Followed", "Http", "Job", "Jobs", "Sweep")
NAMES = {
    **{f"Async{name}": name for name in NOUNS},
    "_async": "_sync",
    "aclose": "close",
    "Awaitable[None]": "None",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "asyncio": "time",
    "in_thread": "directly",
}
UNPACK = "# Made by `generate.py` from app/packed/unpack.py; do not edit.\n"
HEAD = '"""Made by `generate.py`; do not edit."""\n\n'


def main() -> int:
    """Write or compare; 1 where a file is not what it is made from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / PACKAGE.name
        made.mkdir()
        _write_models(made / "models.py")
        _write_sync(made / "_sync")
        (made / "unpack.py").write_text(UNPACK + (ROOT / "app/packed/unpack.py").read_text())
        # Both run under the settings of the repository.
        settings = ["--config", str(ROOT / "pyproject.toml"), "--quiet", str(made)]
        _run("ruff", "check", "--select", "I,F401", "--fix", *settings)
        _run("ruff", "format", *settings)
        texts = {file.relative_to(made): file.read_text() for file in sorted(made.rglob("*.py"))}
    stale = [
        path
        for path, text in texts.items()
        if not (PACKAGE / path).exists() or (PACKAGE / path).read_text() != text
    ]
    if check and stale:
        told = ", ".join(map(str, stale))
        sys.stderr.write(f"{told}: not what it is made from; run `make openapi`\n")
        return 1
    for path in () if check else stale:
        (PACKAGE / path).parent.mkdir(exist_ok=True)
        (PACKAGE / path).write_text(texts[path])
    return 0


def _write_models(target: Path) -> None:
    document = json.loads((ROOT / "openapi.json").read_text())
    schemas: dict[str, Any] = document["components"]["schemas"]
    for name, (whole, without) in OPTIONS.items():
        schema = copy.deepcopy(schemas[whole])
        schema["title"] = name
        for field in without:
            del schema["properties"][field]
        schema["required"] = [each for each in schema.get("required", ()) if each not in without]
        schemas[name] = schema
    for schema in schemas.values():
        schema.pop("additionalProperties", None)  # "closed" would need a later Python
    given = target.with_suffix(".json")
    given.write_text(json.dumps(document))
    _run(
        "datamodel-codegen",
        *("--input", str(given), "--input-file-type", "openapi", "--output", str(target)),
        *("--output-model-type", "typing.TypedDict", "--target-python-version", "3.11"),
        *("--enum-field-as-literal", "all", "--use-union-operator", "--use-standard-collections"),
        *("--use-schema-description", "--disable-timestamp"),
        *("--formatters", "builtin"),
    )
    given.unlink()
    text = target.read_text()
    target.write_text(HEAD + text[text.index("from __future__") :])


def _write_sync(target: Path) -> None:
    rule = unasync.Rule(
        fromdir=f"/{PACKAGE.name}/_async/",
        todir=f"/{target.parent.name}/_sync/",
        additional_replacements=NAMES,
    )
    copied = target.parent / "_async"
    copied.mkdir()
    for file in (PACKAGE / "_async").glob("*.py"):
        (copied / file.name).write_text(file.read_text())
    unasync.unasync_files([str(file) for file in copied.glob("*.py")], [rule])
    for file in copied.glob("*.py"):
        file.unlink()
    (target / "__init__.py").write_text('"""The client that blocks, made from `_async`."""\n')


def _run(program: str, *arguments: str) -> None:
    # Beside the interpreter that runs this, or wherever the path has it.
    beside = Path(sys.executable).with_name(program)
    found = str(beside) if beside.exists() else program
    subprocess.run([found, *arguments], check=True)  # noqa: S603  our own words


if __name__ == "__main__":
    sys.exit(main())
