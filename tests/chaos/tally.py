"""The figures of a whole run of the suite."""

from dataclasses import fields

import pytest

from benchmarks.figures import Figure
from tests.chaos.audit import Findings

CLAIM_SECONDS, DELIVERY_SECONDS, GROWTH_MIB = 60, 5, 64


class Tally:
    """Adds up what the audits find; a plugin of pytest, which also tells it what fails."""

    def __init__(self) -> None:
        self.cases = self.failed = 0
        self._found = Findings()
        self._worst: dict[str, float] = {}

    def pytest_configure(self, config: pytest.Config) -> None:
        """Be found by the fixtures."""
        config.stash[TALLY] = self

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count."""
        self.cases += report.when == "call" and not report.skipped
        self.failed += report.failed

    def add(self, found: Findings) -> None:
        """Take over what an audit found."""
        for each in fields(found):
            getattr(self._found, each.name).extend(getattr(found, each.name))

    def worst(self, name: str, value: float) -> None:
        """Keep the largest value that a figure has had."""
        self._worst[name] = max(value, self._worst.get(name, value))

    def figures(self) -> dict[str, Figure]:
        """All of them, beside their targets; what was not measured is left out."""
        limits = {
            "hung_to_next_claim_s": CLAIM_SECONDS,
            "delivery_delay_under_attack_s": DELIVERY_SECONDS,
            "memory_grown_mib": GROWTH_MIB,
        }
        counted = {
            each.name: Figure(len(getattr(self._found, each.name)), most=0)
            for each in fields(self._found)
        }
        measured = {name: Figure(value, most=limits[name]) for name, value in self._worst.items()}
        ran = {"cases": Figure(self.cases, least=1), "cases_failed": Figure(self.failed, most=0)}
        return counted | measured | ran


TALLY = pytest.StashKey[Tally]()
