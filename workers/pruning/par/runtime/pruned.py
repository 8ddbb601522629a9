"""A model with a trained artifact attached."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from workers.pruning.par.runtime.anatomy import VISION, anatomy
from workers.pruning.par.runtime.attachment import Attachment
from workers.pruning.par.runtime.decision import Decision, decide, token_budget
from workers.pruning.par.runtime.errors import ParError
from workers.pruning.par.runtime.profile import Profile
from workers.pruning.par.runtime.reading import read_config, read_router


class Pruned:
    """A model with an artifact attached; a context manager that detaches.

    Args:
        model: of the family, sizes and config the artifact names.
        artifact: its directory.
        profile: one of the artifact's profiles.
        per_row: see `attach`.

    Attributes:
        per_row: may be set; prompts that have begun keep the layers they began with.
    """

    def __init__(
        self, model: Any, artifact: str | Path, profile: str, *, per_row: bool = False
    ) -> None:
        directory, subject = Path(artifact), anatomy(model)
        self.config = read_config(directory)
        self._router = read_router(directory, self.config, subject)
        self.profiles = {
            name: Profile(**budget) for name, budget in self.config["profiles"].items()
        }
        self.per_row = per_row
        self._attachment = Attachment(subject, self._decide, 0)
        self.profile = profile
        self._stack = ExitStack()
        self._stack.enter_context(self._attachment.attached())

    @property
    def profile(self) -> str:
        """Name of the budget; prompts that have begun keep the one they began with.

        Raises:
            ParError: on setting a profile the artifact has not.
        """
        return self._profile

    @profile.setter
    def profile(self, name: str) -> None:
        if name not in self.profiles:
            raise ParError(
                f"There is no profile {name!r}; choose one of {', '.join(self.profiles)}."
            )
        self._profile = name
        self._attachment.drop_layer = self.profiles[name].drop_layer

    def _decide(self, embeddings: Tensor, segments: Tensor) -> Decision:
        budget = self.profiles[self.profile]
        with torch.no_grad():
            scores = self._router(embeddings, segments)
        counts = (segments == VISION).sum(1)
        return decide(
            scores,
            segments,
            tokens=token_budget(counts, budget.tokens),
            layers=budget.layers,
            candidates=tuple(self.config["layer_candidates"]),
            coverage_floor=self.config["coverage_floor"],
            per_row=self.per_row,
        )

    def detach(self) -> None:
        """Leave the model as it was; a second time is fine."""
        self._stack.close()

    def __enter__(self) -> Self:
        """The model is pruned already."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Detach."""
        self.detach()


def attach(
    model: Any, artifact: str | Path, profile: str = "balanced", *, per_row: bool = False
) -> Pruned:
    """Prune `model` with a trained artifact until `detach()` or the end of the `with` block.

    Args:
        model: of the family, sizes and config the artifact names.
        artifact: its directory.
        profile: one of the artifact's profiles.
        per_row: every row of a batch runs the layers chosen for it, so that its answer does not
            depend on the others; a batch then runs every layer that any of its rows needs. Without,
            all rows run the same layers, by the mean of their scores.

    Raises:
        UnsupportedModelError: see `anatomy`.
        ArtifactError: files missing or damaged, or made for another model.
        ParError: no such profile, or the model is pruned already.
    """
    return Pruned(model, artifact, profile, per_row=per_row)
