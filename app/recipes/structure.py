"""What is taken out of a model as a whole: its configuration says so, and the result is smaller."""

from collections.abc import Collection
from fractions import Fraction
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, NonNegativeInt, Tag, model_validator
from pydantic_core import PydanticCustomError

from app.errors import RecipeError
from app.recipes.modality import Modality
from app.strict import Strict

Removed = Annotated[float, Field(ge=0, lt=1, description="share that is taken out")]
Removal = Annotated[
    Annotated[Removed, Tag("all")] | Annotated[dict[Modality, Removed], Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, dict) else "all"),
]


class StructureError(RecipeError):
    """The model cannot be made smaller in this way; the message says why."""

    code = "structure_not_applicable"


class NothingLeftError(StructureError):
    """The share leaves nothing, or takes nothing away."""

    code = "structure_share_out_of_reach"


class KeepError(StructureError):
    """The blocks that are named to stay cannot be what is left of the model."""

    code = "structure_keep_not_possible"


class NothingTakenError(NothingLeftError):
    """The share takes nothing away.

    Attributes:
        tower: of which.
        part: `channels`, `heads`, `blocks` or `experts`.
    """

    def __init__(self, message: str, tower: str, part: str) -> None:
        """Say what, and of which part of the model."""
        super().__init__(message)
        self.tower = tower
        self.part = part


class TargetOutOfReachError(StructureError):
    """No share of what is asked to go makes the model as small as the target says."""

    code = "structure_target_out_of_reach"


class UnevenError(StructureError):
    """What would need one number has several: layers have widths of their own."""

    code = "structure_layers_differ"


class ConfigurationError(StructureError):
    """No number of config.json says how large the part is."""

    code = "structure_not_configurable"


class WiringError(StructureError):
    """How the part is connected is not understood."""

    code = "structure_wiring_unknown"


class NormError(WiringError):
    """A norm is over all heads of an attention together: it means something else without some.

    Attributes:
        norm: its name.
    """

    def __init__(self, norm: str) -> None:
        """Say which."""
        super().__init__(
            f"{norm}: it norms all heads of an attention together, which computes something else "
            "once some are gone; leave heads_removed out for it"
        )
        self.norm = norm


class _Step(Strict):
    """One thing that is taken out."""

    part: ClassVar[str]  # the field that says how much

    @property
    def asked(self) -> float | dict[Modality, float] | None:
        """The share that is asked for; None where no share says what goes."""
        found: float | dict[Modality, float] | None = getattr(self, self.part)
        return found

    def share_of(self, modality: Modality) -> float:
        """The share taken out of a modality; zero where one for each leaves it out."""
        removed = self.asked
        return (removed.get(modality, 0.0) if isinstance(removed, dict) else removed) or 0.0

    def takes_from(self, modality: Modality) -> bool:
        """Whether anything of a modality is to go."""
        return self.share_of(modality) > 0


def _something(removed: float | dict[Modality, float]) -> float | dict[Modality, float]:
    if not takes(removed):
        raise PydanticCustomError("structure_zero", "it takes nothing out; ask for more than 0")
    return removed


def takes(removed: float | dict[Modality, float]) -> bool:
    """Whether anything is to go."""
    return any(removed.values() if isinstance(removed, dict) else [removed])


Score: TypeAlias = Literal["auto", "energy", "variance", "obs", "magnitude"]


class Channels(Strict):
    """Settings of `width`."""

    mlp_removed: Removal = Field(
        default=0.5,
        description="share of the channels, for all or per modality (others keep theirs)",
    )
    heads_removed: Removal = Field(
        default=0.0,
        description="share of the attention heads, in whole key-value groups, for all or per "
        "modality (others keep theirs)",
    )
    score: Score = Field(
        default="auto",
        description="which channels stay: those of most energy or variance in what reads them, "
        "those that the others cannot stand in for (obs), those of the largest weights, or "
        "whichever of these is best on tokens that were held out",
    )
    solve: bool = Field(
        default=True, description="solve for the projection that reads them by least squares"
    )
    damping: float = Field(
        default=0.01, gt=0, le=1, description="share of the mean second moment that is added"
    )
    multiple: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        description="what stays is rounded up to a multiple of it; by default of the largest of "
        "128, 64, 32, 16 and 8 that takes at most a hundredth of the width",
    )

    @model_validator(mode="after")
    def _takes_something(self) -> Self:
        """Refuse a step that leaves all as it is."""
        if not takes(self.mlp_removed):
            _something(self.heads_removed)
        return self

    def heads_of(self, modality: Modality) -> float:
        """The share of the heads taken out of a modality."""
        removed = self.heads_removed
        return removed.get(modality, 0.0) if isinstance(removed, dict) else removed


class Width(Channels, _Step):
    """Fewer channels between the two layers of every MLP, or fewer heads; the same in a tower.

    The projection that reads what stays is solved for again on it.
    """

    part = "mlp_removed"

    kind: Literal["width"] = "width"

    def takes_from(self, modality: Modality) -> bool:
        """Whether anything of a modality is to go."""
        return super().takes_from(modality) or self.heads_of(modality) > 0


BlockScore: TypeAlias = Literal["influence", "output", "gradient-norm"]


def _rising(numbers: tuple[int, ...]) -> tuple[int, ...]:
    if any(one >= other for one, other in pairwise(numbers)):
        raise PydanticCustomError(
            "structure_keep_not_rising",
            "the blocks stay in the order of the model: give each number once, the smallest first",
        )
    return numbers


Numbers = Annotated[
    tuple[NonNegativeInt, ...], Field(min_length=1, max_length=1000), AfterValidator(_rising)
]
Keep = Annotated[
    Annotated[Numbers, Tag("all")] | Annotated[dict[Modality, Numbers], Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, dict) else "all"),
]


class Blocks(Strict):
    """Settings of `depth`: a share of the blocks goes, or all but those that are named."""

    removed: Removal | None = Field(
        default=0.25,
        description="share of the blocks, for all or per modality (others keep theirs); none "
        "where `keep` is given",
    )
    keep: Keep | None = Field(
        default=None,
        description="numbers of the blocks that stay, from 0, rising, for all or per modality "
        "(others keep theirs), in the place of a share and without a score",
    )
    score: BlockScore = Field(
        default="influence",
        description="which blocks go: those whose output differs least from their input "
        "(influence), those on which the loss depends least (gradient-norm, as ECoFLaP scores "
        "them), or one after the other that without which the model's predictions, or all "
        "that it gives where it predicts nothing, change least (output); that takes a forward of "
        "the calibration set for every block that is left, for every block that goes",
    )
    ends: bool = Field(default=False, description="the first and the last block may go too")

    @model_validator(mode="before")
    @classmethod
    def _share_by_default(cls, given: Any) -> Any:
        """Without a share where blocks are named: the default one is for where nothing is said."""
        if isinstance(given, dict) and given.get("keep") is not None:
            return {"removed": None} | given
        return given

    @model_validator(mode="after")
    def _share_or_numbers(self) -> Self:
        """Refuse both of them, and neither."""
        if self.keep is None:
            _something(self.removed or 0.0)
            return self
        if not self.keep:
            _something(0.0)
        meant = {"removed": self.removed, "score": self.score, "ends": self.ends}
        usual = {"removed": None, "score": "influence", "ends": False}
        if beside := [name for name, value in meant.items() if value != usual[name]]:
            raise PydanticCustomError(
                "structure_keep_contradicted",
                "keep says which blocks stay; leave {fields} out",
                {"fields": " and ".join(beside)},
            )
        return self


class Depth(Blocks, _Step):
    """Fewer blocks: those that matter least are left out, or those that are not named to stay."""

    part = "removed"

    kind: Literal["depth"] = "depth"

    def kept_of(self, modality: Modality) -> tuple[int, ...] | None:
        """Numbers of the blocks of a modality that stay; None where none are named."""
        return self.keep.get(modality) if isinstance(self.keep, dict) else self.keep

    def takes_from(self, modality: Modality) -> bool:
        """Whether anything of a modality is to go."""
        return self.kept_of(modality) is not None or super().takes_from(modality)


ExpertScore: TypeAlias = Literal["reap", "norm", "frequency"]


class Mixtures(Strict):
    """Settings of `experts`."""

    removed: Annotated[Removal, AfterValidator(_something)] = Field(
        default=0.5,
        description="share of the experts of every layer, for all or per modality (others keep "
        "theirs)",
    )
    score: ExpertScore = Field(
        default="reap",
        description="which experts stay: those of the largest mean of gate times norm of the "
        "output over the tokens routed to them (reap), of the norm alone, or those that most "
        "tokens are routed to",
    )


class Experts(Mixtures, _Step):
    """Fewer experts in every mixture, the same number in every layer; shared experts stay.

    Rows of the routers and biases go with them.
    """

    part = "removed"

    kind: Literal["experts"] = "experts"


Step: TypeAlias = Width | Depth | Experts

_MULTIPLES = (128, 64, 32, 16, 8)
_LITTLE = 100  # a hundredth of the width may be lost to rounding


def channels_kept(width: int, removed: float, multiple: int | None, where: str) -> int:
    """How many of `width` channels stay.

    Args:
        width: as it is.
        removed: share to take out.
        multiple: what stays is a multiple of it; None to choose one that hardware likes.
        where: what to call the part in a refusal.

    Raises:
        NothingLeftError: no channel would go, or none stay.
    """
    least = width - taken_of(width, removed)
    kept = least
    for each in (multiple,) if multiple else _MULTIPLES:
        rounded = -(-least // each) * each
        if multiple or (width % each == 0 and (rounded - least) * _LITTLE <= width):
            kept = rounded
            break
    said = (
        f"{where}: removing a share of {removed:g} leaves {min(kept, width)} of {width} channels, "
        f"in multiples of {multiple or 1}"
    )
    if kept >= width:
        raise NothingTakenError(f"{said}; at least one has to go", where, "channels")
    if kept == 0:
        raise NothingLeftError(f"{said}; at least one has to stay")
    return kept


def blocks_removed(count: int, removed: float, able: int, where: str) -> int:
    """How many of `count` blocks go, where `able` may.

    Raises:
        NothingLeftError: less than one would go, or more than may.
    """
    found = taken_of(count, removed)
    most = min(able, count - 1)
    can = f"from 1 to {most} can be removed" if most > 0 else "none of them can be removed"
    said = f"{where}: a share of {removed:g} of {count} blocks is {found} blocks; {can}"
    if not found:
        raise NothingTakenError(said, where, "blocks")
    if found > most:
        raise NothingLeftError(said)
    return found


def taken_of(count: int, removed: float) -> int:
    """Rounded down, of the decimal number that was written: 0.3 of 10 is 3."""
    return int(Fraction(repr(float(removed))) * count)


def modalities_of(steps: Collection[Step]) -> set[Modality]:
    """The modalities that steps name one by one."""
    asked: list[Any] = [step.asked for step in steps]
    asked += [step.keep for step in steps if isinstance(step, Depth)]
    asked += [step.heads_removed for step in steps if isinstance(step, Width)]
    return {each for removed in asked if isinstance(removed, dict) for each in removed}
