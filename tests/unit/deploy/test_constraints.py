"""What is pinned installs on every Python that the project says it runs on."""

import tomllib
from importlib.metadata import PackageNotFoundError, metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.unit.deploy.manifests import ROOT


def test_every_pin_takes_the_oldest_python():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    [oldest] = [each.version for each in SpecifierSet(project["requires-python"])]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    refused = {}
    for line in (line for line in lines if line and not line.startswith("#")):
        pin = Requirement(line)
        try:
            wanted = metadata(pin.name)["Requires-Python"] or ""
        except PackageNotFoundError:  # of another platform
            continue
        if not SpecifierSet(wanted).contains(f"{oldest}.0"):
            refused[line] = wanted
    assert not refused
