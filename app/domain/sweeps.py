"""Sweeps: methods x sparsities x recipes on one model, each combination a job of its own.

```
queued --first start--> running --> succeeded | failed
   |                       |
   +------cancel-----------+--> cancelling --> cancelled
```
A sweep has succeeded when every member has ended and one at least has succeeded: that a quality
gate refuses the sparsest members is what a sweep is for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from itertools import product
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from app.domain.job_options import JobOptions
from app.domain.job_result import JobResult
from app.domain.jobs import Job, JobStatus
from app.domain.recipe_options import RecipeOptions
from app.domain.submission import (
    AnySparsity,
    JobRequest,
    Judged,
    MethodChoice,
    ModelChoice,
)
from app.errors import ConflictError, NotFoundError
from app.messages import in_words
from app.recipes.data import CalibrationSpec
from app.recipes.device import Compute
from app.recipes.evaluation import MetricName
from app.recipes.methods import METHODS
from app.recipes.performance import PerformanceReport
from app.recipes.recipe import Recipe
from app.strict import Strict


class SweepStatus(StrEnum):
    """Where a sweep stands."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """Nothing follows this status."""
        return self in {SweepStatus.SUCCEEDED, SweepStatus.FAILED, SweepStatus.CANCELLED}


Counts = Mapping[JobStatus, int]


def next_status(status: SweepStatus, members: Counts) -> SweepStatus:
    """Where a sweep stands once its members stand so; `status` is where it stood before."""
    if status.terminal:
        return status
    if any(count and not each.terminal for each, count in members.items()):
        waiting = members.get(JobStatus.QUEUED, 0) == sum(members.values())
        started = status is SweepStatus.QUEUED and not waiting
        return SweepStatus.RUNNING if started else status
    if status is SweepStatus.CANCELLING:
        return SweepStatus.CANCELLED
    ends = (JobStatus.SUCCEEDED, JobStatus.FAILED)
    reached = [end for end in ends if members.get(end)]
    return SweepStatus(reached[0]) if reached else SweepStatus.CANCELLED


class Objective(Strict):
    """What makes one member of a sweep the best."""

    metric: MetricName = Field(description="one that the evaluation measures")
    max_drop: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="the best is the sparsest member whose metric got at most this much worse; "
        "without it, the member with the best metric",
    )


@dataclass(frozen=True)
class Sweep:
    """One sweep as stored; `request` is read when it is first asked for, as that of a job is.

    Attributes:
        stored_request: JSON of what the client sent.
        best_id: the member that meets the objective best so far.
    """

    id: str
    project_id: str
    status: SweepStatus
    stored_request: dict[str, Any]
    labels: dict[str, str]
    metadata: dict[str, Any]
    best_id: str | None
    created_at: datetime
    finished_at: datetime | None

    @cached_property
    def request(self) -> "SweepRequest":
        """What the client sent.

        Raises:
            SweepUnreadableError: another version stored it, in a form that this one cannot read.
        """
        try:
            return SweepRequest.model_validate(self.stored_request)
        except ValidationError as error:
            raise SweepUnreadableError(
                f"sweep {self.id!r} was stored by another version of the service, and this one "
                f"cannot read its request: {in_words(error.errors()[0])}"
            ) from error


@dataclass(frozen=True, slots=True)
class MemberResult:
    """One member in the leaderboard; figures are None until they are measured.

    Attributes:
        job: the member.
        result: what its worker reported; None also where this version cannot read it.
        value: the metric after pruning.
        drop: how much worse the metric got.
    """

    job: Job
    result: JobResult | None
    value: float | None
    drop: float | None

    @property
    def measured(self) -> bool:
        """Has it succeeded, with this metric measured?"""
        return self.job.status is JobStatus.SUCCEEDED and self.drop is not None

    @property
    def sparsity(self) -> float | None:
        """The share of zeros in its exported files."""
        return None if self.result is None else self.result.sparsity

    @property
    def performance(self) -> PerformanceReport | None:
        """What it takes to run beside the dense model, where that was measured."""
        found = self.result.performance if self.result else None
        return found if isinstance(found, PerformanceReport) else None


def ranked(members: Sequence[MemberResult], objective: Objective) -> list[MemberResult]:
    """The best first; those without a figure come last, in the order they were given."""

    def merit(each: MemberResult) -> tuple[float, ...]:
        if not each.measured or each.drop is None or each.sparsity is None:
            return (2,)
        if objective.max_drop is None:
            return (0, each.drop, -each.sparsity)
        within = each.drop <= objective.max_drop
        return (0, -each.sparsity, each.drop) if within else (1, each.drop, -each.sparsity)

    return sorted(members, key=merit)


def best(members: Sequence[MemberResult], objective: Objective) -> MemberResult | None:
    """The member that meets the objective best; None where none meets it (yet)."""
    first = next(iter(ranked(members, objective)), None)
    if first is None or not first.measured or first.drop is None:
        return None
    allowed = objective.max_drop
    return first if allowed is None or first.drop <= allowed else None


def shares_calibration(recipe: Recipe) -> bool:
    """Does what the recipe measures on the dense model hold for every sparsity?

    So it is with ECoFLaP's scores and with statistics of the dense activations. Wanda and
    SparseGPT, block after block, measure what the pruned blocks before pass on, and gradients are
    as large as the model itself: these are measured by every member. So is everything where a
    member takes structure out first.
    """
    if recipe.structure:
        return False
    scoring = recipe.allocation.scoring
    scored = scoring is not None and scoring.kind != "reused"
    return scored or recipe.importance.holds_for_any_sparsity


class SweepNotFoundError(NotFoundError):
    """The project has no sweep of that id."""

    code = "sweep_not_found"


class SweepFinishedError(ConflictError):
    """The sweep has ended; what was asked is no longer possible."""

    code = "sweep_already_finished"


class SweepUnreadableError(ConflictError):
    """Another version of the service stored the sweep in a form that this one cannot read."""

    code = "sweep_unreadable"


class SweepNotFinishedError(ConflictError):
    """Every job of the sweep has to end first."""

    code = "sweep_not_finished"


MAX_MEMBERS = 200
T = TypeVar("T")


class SweepRequest(Compute, Judged, JobOptions, ModelChoice):
    """Body of `POST /v1/sweeps`. Labels, priority and time limits are those of every member."""

    methods: Annotated[list[MethodChoice], Field(min_length=1, max_length=50)] = Field(
        description="the methods to try, each with its parameters",
        examples=[[{"method": "wanda"}, {"method": "multiflow"}]],
    )
    sparsities: Annotated[list[AnySparsity], Field(max_length=50)] = Field(
        default=[], description="what every method is to reach", examples=[[0.5, 0.6, 0.7]]
    )
    recipes: Annotated[list[RecipeOptions], Field(min_length=1, max_length=50)] = Field(
        default=[RecipeOptions()],
        description="how, beside the method; one with an N:M pattern implies its sparsity and is "
        "tried at that alone; a method that zeroes no weights has none",
        examples=[[{}, {"pattern": "2:4"}]],
    )
    calibration: CalibrationSpec = CalibrationSpec()
    objective: Objective | None = Field(
        default=None, description="what the best member is", examples=[{"metric": "similarity"}]
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for name in ("methods", "sparsities", "recipes"):
            _refuse_repeats(name, getattr(self, name))
        self._objective_is_measured()
        count = sum(1 for _ in self._combinations())
        if count > MAX_MEMBERS:
            raise PydanticCustomError(
                "sweep_too_large",
                "{count} combinations; a sweep has at most {most} jobs",
                {"count": count, "most": MAX_MEMBERS},
            )
        self.members()  # what is wrong with one is wrong with the request
        return self

    def _objective_is_measured(self) -> None:
        if self.objective is None:
            return
        spec = self.evaluation if self.evaluation and self.evaluation.set else None  # not by tasks
        if spec is None or (spec.metrics and self.objective.metric not in spec.metrics):
            raise PydanticCustomError(
                "objective_not_measured", "the objective's metric needs an evaluation of it"
            )

    def members(self) -> list[JobRequest]:
        """One job per combination: method by method, recipe by recipe, sparsities as given."""
        shared = self.model_dump(exclude_unset=True, exclude=_OWN)
        return [_member(shared | each) for each in self._combinations()]

    def _combinations(self) -> Iterator[dict[str, Any]]:
        for method, recipe in product(self.methods, self.recipes):
            told = method.model_dump(exclude_unset=True) | recipe.model_dump(exclude_unset=True)
            if recipe.implied_sparsity() is not None or _zeroes_nothing(method):
                yield told
            elif not self.sparsities:
                raise PydanticCustomError(
                    "sparsity_missing", "sparsities are needed for recipes without an N:M pattern"
                )
            else:
                yield from (told | {"sparsity": sparsity} for sparsity in self.sparsities)


def _zeroes_nothing(choice: MethodChoice) -> bool:
    return choice.method in METHODS and METHODS[choice.method].prunes != "weights"


_OWN = {"methods", "sparsities", "recipes", "objective"}


def _member(values: dict[str, Any]) -> JobRequest:
    try:
        return JobRequest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise PydanticCustomError(first["type"], "{reason}", {"reason": in_words(first)}) from error


def _refuse_repeats(name: str, values: list[T]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise PydanticCustomError(
                "repeated", "{name}/{index} repeats an earlier one", {"name": name, "index": index}
            )
