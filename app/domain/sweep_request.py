"""What a client asks of a sweep, and the jobs that come of it."""

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from app.domain.job_options import JobOptions
from app.domain.submission import (
    AnySparsity,
    CalibrationSpec,
    JobRequest,
    MethodChoice,
    ModelChoice,
    RecipeOptions,
)
from app.domain.sweeps import Objective
from app.messages import in_words
from app.recipes.device import Compute
from app.recipes.evaluation import Judged
from app.recipes.methods import METHODS

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
        "tried at that alone; a method that prunes routes has none",
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
        metrics = self.evaluation.metrics if self.evaluation else ()
        if self.evaluation is None or (metrics and self.objective.metric not in metrics):
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
            if recipe.implied_sparsity() is not None or _prunes_routes(method.method):
                yield told
            elif not self.sparsities:
                raise PydanticCustomError(
                    "sparsity_missing", "sparsities are needed for recipes without an N:M pattern"
                )
            else:
                yield from (told | {"sparsity": sparsity} for sparsity in self.sparsities)


def _prunes_routes(name: str) -> bool:
    return name in METHODS and METHODS[name].prunes == "routes"


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
