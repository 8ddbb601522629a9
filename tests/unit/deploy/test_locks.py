"""What the images install has one version and hashes, and is what the project asks for."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.deploy.manifests import DEPLOY, ROOT

EXTRAS = {"api": (), "worker": ("worker", "datasets", "vision", "signing")}
# Their builds differ by index, so they have no hashes of ours; the Dockerfile installs them.
BY_ITSELF = {"torch", "torchvision"}


def locked(name):
    """Version and number of hashes of every package of a lock file."""
    text = (DEPLOY / "requirements" / f"{name}.lock").read_text()
    found = {}
    for entry in re.split(r"\n(?=\S)", text.strip()):
        pin = Requirement(entry.partition("\\")[0].strip())
        [version] = [each.version for each in pin.specifier]
        found[canonicalize_name(pin.name)] = (version, entry.count("--hash=sha256:"))
    return found


@pytest.mark.parametrize("name", [*EXTRAS, "tools"])
def test_every_package_has_hashes(name):
    packages = locked(name)
    assert len(packages) > 20
    assert all(hashes for _, hashes in packages.values())


@pytest.mark.parametrize("name", EXTRAS)
def test_all_that_the_project_asks_for_is_locked(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(each for extra in EXTRAS[name] for each in extras[extra])]
    packages = locked(name)
    for requirement in map(Requirement, asked):
        package = canonicalize_name(requirement.name)
        if package not in BY_ITSELF:
            assert requirement.specifier.contains(packages[package][0]), requirement


@pytest.mark.parametrize("name", EXTRAS)
def test_the_versions_are_those_that_are_tested(name):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    tested = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in pins}
    for package, (version, _) in locked(name).items():
        assert tested.get(package, version) == version, f"{package}: run `make lock`"
