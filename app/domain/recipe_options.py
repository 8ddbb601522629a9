"""What any method can be told: where zeros may be, what becomes of the rest, how it is stored."""

from pydantic import Field

from app.recipes.module_patterns import ModulePatterns
from app.recipes.quantization import Quantized
from app.recipes.recipe import Structure, zeros_of
from app.recipes.reconstruction import NoReconstruction, Reconstruction
from app.recipes.recovery import Recovery
from app.recipes.size_target import SizeTarget


class RecipeOptions(SizeTarget):
    """The fields of a request that are about the recipe."""

    pattern: str = Field(
        default="unstructured",
        pattern=r"^(unstructured|[1-9]\d?:[1-9]\d?)$",
        description="unstructured, or N:M: n of every m consecutive inputs are kept",
        examples=["unstructured", "2:4"],
    )
    structure: Structure = Field(
        default=(),
        description="what is taken out of the model first: blocks, channels of MLPs, experts",
    )
    reconstruction: Reconstruction = Field(
        default=NoReconstruction(), description="what becomes of the weights that stay"
    )
    recovery: Recovery | None = Field(
        default=None,
        description="training of each block, or of the whole model, towards the dense one, "
        "without labels",
    )
    targets: ModulePatterns = Field(
        default=("*",),
        min_length=1,
        description="modules to prune: names, fnmatch patterns of them, or `re:` and a regular "
        "expression that names begin with. Each has to match a matrix that can be pruned",
    )
    ignore: ModulePatterns = Field(
        default=(), description="modules to leave alone, in the same words; each has to match one"
    )
    allow_unmatched: bool = Field(
        default=False, description="accept patterns of `ignore` that match no module"
    )
    split_qkv: bool = Field(
        default=False, description="see a fused query-key-value projection as three matrices"
    )
    include_bridge: bool = Field(
        default=False, description="prune projectors and Q-Former too, which are left alone else"
    )
    expert_tokens: int = Field(
        default=32, ge=1, description="experts that fewer tokens reach are pruned by magnitude"
    )
    quantization: Quantized | None = Field(
        default=None,
        description="store the weights of linear layers in blocks in 8 bits, as int8 or FP8 (e4m3) "
        "with a scale per output channel: a checkpoint in the compressed-tensors format, with a "
        "quantization_config. What is pruned stays zero; what is measured is the quantised model",
    )
    seed: int = Field(default=0, ge=0, lt=2**32)

    def implied_sparsity(self) -> float | None:
        """What an N:M pattern means as a share of zeros; None for the unstructured pattern."""
        return zeros_of(self.pattern)
