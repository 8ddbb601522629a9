"""Ways to run a result, and what each makes of it, as far as it was tried (`make bench-runtimes`).

Zeros and weights in 8 bits change nothing once a model is loaded, in any runtime that was tried;
what is left out of a model does in all of them.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

from app.recipes.structure import Experts, Step
from app.strict import Strict

ModelKind: TypeAlias = Literal["encoder", "decoder", "other"]  # the first two of text alone


class RuntimeSupport(Strict):
    """What one runtime makes of the result, beside the dense model; None is: not checked.

    Attributes:
        runtime: its name.
        version: of it, with which such a result of such a model was checked.
        loads: whether it loads.
        smaller: whether its weights take less memory in use.
        faster: whether it takes less time.
    """

    runtime: str
    version: str | None = None
    loads: bool | None = None
    smaller: bool | None = None
    faster: bool | None = None


class _Checked(NamedTuple):
    runtime: str
    version: str
    timed: tuple[ModelKind, ...]


_TRANSFORMERS = _Checked("transformers", "5.23.0", ("encoder", "decoder"))
_OTHERS = (
    _Checked("ONNX Runtime", "1.32.0", ("encoder",)),
    _Checked("OpenVINO", "2026.4.1", ("encoder",)),
    _Checked("llama.cpp", "llama-cpp-python 0.3.36", ("decoder",)),
)
_NOT_CHECKED = ("vLLM", "SGLang")


def runtime_support(kind: ModelKind, structure: Sequence[Step]) -> tuple[RuntimeSupport, ...]:
    """Every runtime that users ask for.

    Args:
        kind: of the model.
        structure: what was taken out of it.
    """
    smaller = bool(structure)
    # A token is routed to as many experts as before.
    faster = any(not isinstance(step, Experts) for step in structure)
    mixture = any(isinstance(step, Experts) for step in structure)
    found = [
        RuntimeSupport(
            runtime=_TRANSFORMERS.runtime,
            version=_TRANSFORMERS.version,
            loads=True,
            smaller=smaller,
            faster=faster if kind in _TRANSFORMERS.timed and not mixture else None,
        )
    ]
    for each in _OTHERS:
        told = {"version": each.version, "loads": True, "smaller": smaller, "faster": faster}
        tried = kind in each.timed and not mixture
        found.append(RuntimeSupport(runtime=each.runtime, **(told if tried else {})))
    return (*found, *(RuntimeSupport(runtime=name) for name in _NOT_CHECKED))
