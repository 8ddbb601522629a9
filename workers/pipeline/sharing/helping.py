"""Measuring parts of somebody else's job."""

import time

from app.domain.jobs import NewEvent, Phase
from app.recipes.recipe import Recipe
from workers.pipeline.context import RunContext
from workers.pipeline.sharing.parts import Work
from workers.pipeline.stages import (
    calibration_batches,
    fetch_model,
    load_to_run,
    read_records,
    settled,
)
from workers.pruning.models.families.registry import adapt


class Quiet:
    """Listens to a helper and says nothing: the job's own worker reports."""

    def phase(self, phase: Phase) -> None:
        """Do nothing."""

    def progress(self, share: float) -> None:
        """Do nothing."""

    def event(self, event: NewEvent) -> None:
        """Do nothing."""

    def plan(self, seconds: float) -> None:
        """Do nothing."""

    def check(self) -> None:
        """Do nothing."""

    def wait(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def kept(self) -> None:
        """Do nothing."""


def open_work(context: RunContext) -> Work:
    """The model and the batches of a job, as its own worker has them; nothing is written.

    Raises:
        UserError: model, data or recipe are at fault.
        SystemFaultError: the surroundings are.
        TypeError: the job has no parts.
    """
    recipe = context.spec.recipe
    if not isinstance(recipe, Recipe):
        raise TypeError("routers are not trained in parts")
    source = fetch_model(context)
    context = settled(context, source)
    adapter = adapt(
        load_to_run(context, source),
        split_qkv=recipe.split_qkv,
        include_bridge=recipe.include_bridge,
    )
    return Work(adapter, recipe, calibration_batches(context, adapter, read_records(context)))
