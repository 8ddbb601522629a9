"""What a request is for, in a few words."""

import tomllib
from pathlib import Path

import pytest

from app.console.outcome import target_of

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        ({"method": "wanda", "sparsity": 0.6}, "60 %"),
        ({"sparsity": {"vision": 0.4, "text": 0.625}}, "vision 40 %, text 62.5 %"),
        ({"method": "wanda", "pattern": "2:4"}, "2:4"),
        ({"method": "wanda", "sparsity": "auto"}, "as sparse as the gate allows"),
        ({"method": "depth", "parameters": {"removed": 0.25}}, "25 % taken out"),
        ({"method": "depth"}, "a smaller model"),
        (
            {"method": "width", "parameters": {"mlp_removed": 0.5, "heads_removed": 0.25}},
            "50 % of MLP channels and 25 % of heads taken out",
        ),
        (
            {"method": "width", "parameters": {"mlp_removed": 0, "heads_removed": {"vision": 0.5}}},
            "vision 50 % of heads taken out",
        ),
        ({"method": "width", "parameters": {"mlp_removed": "half"}}, "a smaller model"),
        ({"method": "par"}, "a router"),
        ({"recipe": {}, "method": "gone"}, "own recipe"),
        ({}, "own recipe"),
        ({"sparsity": None, "pattern": 3, "parameters": None}, "own recipe"),
    ],
)  # fmt: skip
def test_targets(request_, told):
    assert target_of(request_) == told


@pytest.mark.parametrize("package", ["app.console", "app.reports"])
def test_templates_and_statics_are_part_of_the_package(package):
    """A wheel has what `package-data` names, and nothing else beside the modules."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folder = ROOT.joinpath(*package.split("."))
    packed = {file for each in patterns["package-data"][package] for file in folder.glob(each)}
    wanted = {
        file
        for place in ("templates", "static", "styles")
        for file in (folder / place).rglob("*")
        if file.is_file()
    }
    assert wanted
    assert wanted <= packed
    others = {file.name for file in wanted if "vendor" in file.parts}
    libraries = {name for name in others if name.endswith((".js", ".css"))}
    for name in libraries:  # each with its licence, at the version in its name
        stem = ".".join(name.split(".")[:3])
        assert f"{stem}.LICENSE" in others
