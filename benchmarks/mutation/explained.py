"""Breaks that no test can notice, each with the reason why it changes nothing."""

import tomllib
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).parent / "explained.toml"


def explained() -> Mapping[str, dict[str, str]]:
    """Reasons by the break's name, by module."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for entry in tomllib.loads(FILE.read_text())["explained"]:
        for name in entry["breaks"]:
            found[entry["module"]][name] = entry["reason"]
    return found
