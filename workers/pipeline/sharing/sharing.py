"""Measurements on the dense model that a sweep's members share, as one file of the leader's.

`calibration/statistics.safetensors`: the digest of every matrix's inputs by its name; in the
metadata ECoFLaP's scores, and which checkpoint all that was measured on.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load, save_file

from app.domain.jobs import EventLevel, EventType, NewEvent
from app.recipes.allocation_scores import AllocationScores
from app.recipes.pruning_report import STATISTICS_FILE, PruningReport
from workers.pipeline.context import RunContext
from workers.pipeline.sources import ModelFiles
from workers.pruning.engine.digests import Digests


@dataclass(frozen=True, slots=True)
class Known:
    """What need not be measured again."""

    scores: AllocationScores | None
    digests: Digests


def write(staging: Path, source: ModelFiles, pruned: PruningReport, digests: Digests) -> None:
    """Keep what the run measured on the dense model."""
    metadata = {"checkpoint": source.fingerprint}
    if pruned.allocation is not None:
        metadata["scores"] = pruned.allocation.scores.model_dump_json()
    file = staging / STATISTICS_FILE
    file.parent.mkdir()
    save_file(digests.found, file, metadata=metadata)


def read(context: RunContext, source: ModelFiles) -> Known:
    """What the leader measured, if it was on this very checkpoint."""
    content = context.shared.statistics
    if content is None:
        return Known(context.spec.scores, Digests())
    metadata = _metadata(content)
    if metadata["checkpoint"] != source.fingerprint:
        message = "the model has changed since the sweep's first job; calibrating anew"
        context.report.event(NewEvent(EventType.WARNING, message, EventLevel.WARNING))
        return Known(context.spec.scores, Digests())
    context.report.event(NewEvent(EventType.LOG, "using the calibration of the sweep's first job"))
    scores = metadata.get("scores")
    return Known(
        AllocationScores.model_validate_json(scores) if scores else context.spec.scores,
        Digests(load(content)),
    )


def _metadata(content: bytes) -> dict[str, str]:
    """A safetensors file begins with the length of its header, 8 bytes little-endian."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found
