"""Writes what `runtime.attach` reads: the router, its config, and the runtime as one file.

The runtime is a package here and a single file in an artifact, which must run where this project is
not installed.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from app.recipes.routing_report import ROUTER_CONFIG_FILE, ROUTER_FILE
from workers.pruning.routing import runtime
from workers.pruning.routing.runtime import Anatomy, Profile, Router

_LICENCE = "# SPDX-License-Identifier: Apache-2.0"
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class _Module:
    """A module's parts.

    Attributes:
        doc: its docstring.
        outside: what it imports from other packages: (module, name), or (module, None) for itself.
        needs: modules of the package it imports from, in order.
        body: everything behind the imports.
        names: what the body defines.
    """

    doc: str
    outside: tuple[tuple[str, str | None], ...]
    needs: tuple[str, ...]
    body: str
    names: frozenset[str]


def bundle(folder: Path, package: str) -> str:
    """The source of a package whose modules import each other, as one module.

    Its `__init__` lists the modules that go in, by importing from them. Every definition is copied
    as it stands, dependencies first; only the imports are merged.

    Args:
        folder: of the package.
        package: its dotted name.

    Raises:
        ValueError: two modules define the same name, or one imports in a way that cannot be merged:
            inside a function, under another name, or in a circle.
    """
    whole = _read(folder / "__init__.py", package)
    order = _ordered(folder, package, whole.needs)
    _refuse_doubles(order)
    head = f'{_LICENCE}\n"""{whole.doc}\n"""\n\n{_imports(order)}'
    return "\n\n\n".join([head, *map(_section, order.values()), whole.body]) + "\n"


def _imports(modules: dict[str, _Module]) -> str:
    """The import lines of all modules, merged; the standard library's come first."""
    wanted = {each for module in modules.values() for each in module.outside}
    lines = [f"import {home}" for home, name in sorted(wanted, key=str) if name is None]
    for home in sorted({home for home, name in wanted if name is not None}):
        names = sorted(name for place, name in wanted if place == home and name is not None)
        lines.append(f"from {home} import {', '.join(names)}")
    own = [line for line in lines if line.split()[1].split(".")[0] in sys.stdlib_module_names]
    return "\n".join([*own, "", *(line for line in lines if line not in own)])


def _ordered(folder: Path, package: str, wanted: tuple[str, ...]) -> dict[str, _Module]:
    """Modules by name, each behind those it needs."""
    done: dict[str, _Module] = {}
    open_: list[str] = []

    def visit(name: str) -> None:
        if name in open_:
            raise ValueError(f"modules import each other in a circle: {' -> '.join(open_)}")
        if name in done:
            return
        module = _read(folder / f"{name}.py", package)
        open_.append(name)
        for need in module.needs:
            visit(need)
        done[open_.pop()] = module

    for name in wanted:
        visit(name)
    return done


def _read(path: Path, package: str) -> _Module:
    source = path.read_text("utf-8")
    tree = ast.parse(source, str(path))
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if len(imports) != sum(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.walk(tree)):
        raise ValueError(f"{path.name} imports inside a function or a condition")
    outside: list[tuple[str, str | None]] = []
    needs: list[str] = []
    for node in imports:
        if any(alias.asname for alias in node.names):
            raise ValueError(f"{path.name} imports under another name, line {node.lineno}")
        home = node.module if isinstance(node, ast.ImportFrom) else None
        if home is not None and home.startswith(f"{package}."):
            needs.append(home.removeprefix(f"{package}."))
        elif home is not None:
            outside += [(home, alias.name) for alias in node.names]
        else:
            outside += [(alias.name, None) for alias in node.names]
    doc = (ast.get_docstring(tree) or "").strip()
    above = [*imports, *tree.body[: 1 if doc else 0]]
    last = max((node.end_lineno or 0 for node in above), default=0)
    body = "\n".join(source.splitlines()[last:]).strip("\n")
    return _Module(doc, tuple(outside), tuple(needs), body, frozenset(_defined(tree)))


def _defined(tree: ast.Module) -> set[str]:
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = (part for target in targets for part in ast.walk(target))
            found |= {part.id for part in parts if isinstance(part, ast.Name)}
    return found


def _refuse_doubles(modules: dict[str, _Module]) -> None:
    home: dict[str, str] = {}
    for place, module in modules.items():
        for name in module.names:
            if name in home:
                raise ValueError(f"{home[name]} and {place} both define {name}")
            home[name] = place


def _section(module: _Module) -> str:
    """A module's body below the first line of its docstring, as a comment with a rule."""
    title = f"# {module.doc.splitlines()[0] if module.doc else ''} ".ljust(_WIDTH, "-")
    gap = "\n\n\n" if module.body.startswith(("class", "def", "@")) else "\n\n"
    return f"{title}{gap}{module.body}"


RUNTIME_FILE = "par_runtime.py"


def write_artifact(
    directory: Path,
    router: Router,
    subject: Anatomy,
    *,
    model: str,
    revision: str | None,
    profiles: Mapping[str, Profile],
    layer_candidates: tuple[int, ...],
    coverage_floor: float = 0.1,
    summary: Mapping[str, Any] | None = None,
) -> None:
    """Write a router's artifact.

    Args:
        directory: exists; files of the same names are replaced.
        router: trained.
        subject: of the model it was trained for.
        model: the base checkpoint's id; its weights are not copied.
        revision: of the base checkpoint.
        profiles: name -> budget.
        layer_candidates: layers that may be skipped.
        coverage_floor: see `runtime.decide`.
        summary: free entries of `par_config.json`, such as `training` and `metrics`.
    """
    weights = {name: value.contiguous().cpu() for name, value in router.state_dict().items()}
    save_file(weights, directory / ROUTER_FILE, metadata={"format": "pt"})
    (directory / RUNTIME_FILE).write_text(runtime_source(), encoding="utf-8")
    config = {
        "format": runtime.FORMAT,
        "base": {
            "model": model,
            "revision": revision,
            "family": subject.family,
            "config_hash": runtime.config_hash(subject.model.config),
            "hidden_size": subject.hidden_size,
            "layers": len(subject.layers),
        },
        "router": router.shape(),
        "profiles": {name: asdict(profile) for name, profile in profiles.items()},
        "layer_candidates": list(layer_candidates),
        "coverage_floor": coverage_floor,
        **(summary or {}),
        "files": {name: _facts(directory / name) for name in (ROUTER_FILE, RUNTIME_FILE)},
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (directory / ROUTER_CONFIG_FILE).write_text(text, encoding="utf-8")


def runtime_source() -> str:
    """The runtime as the one file an artifact carries."""
    return bundle(Path(runtime.__file__).parent, runtime.__name__)


def _facts(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
