"""Every family's checkpoint, built once per test process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.families import BY_NAME
from tests.models_of_experts import TEXT
from tests.models_without_adapter import UNSEEN


@pytest.fixture(scope="session")
def family_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of the named family's tiny checkpoint."""
    root = tmp_path_factory.mktemp("families")
    rows = BY_NAME | {family.name: family for family in UNSEEN}

    def build(name: str) -> Path:
        directory = root / name
        if not directory.exists():
            rows[name].build(directory)
        return directory

    return build


@pytest.fixture(scope="session")
def experts_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Directory of the named mixture of experts, tiny."""
    root = tmp_path_factory.mktemp("experts")

    def build(name: str) -> Path:
        directory = root / name
        if not directory.exists():
            TEXT[name](directory)
        return directory

    return build
