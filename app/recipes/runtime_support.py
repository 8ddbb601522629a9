"""Ways to run a result, and what each makes of it, as far as it was tried (`make bench-runtimes`).

Zeros and weights in 8 bits change nothing once a model is loaded, in any runtime that was tried;
what is left out of a model does in all of them.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from app.recipes.structure import Experts, Step
from app.strict import Strict

# Encoders and decoders of text alone; models that write text about pictures; all others.
ModelKind: TypeAlias = Literal["encoder", "decoder", "vision-language", "other"]


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
    """Exporters and converters know models one by one: told of the types that were tried."""

    runtime: str
    version: str
    models: Mapping[str, ModelKind]


_TRANSFORMERS = ("transformers", "5.23.0")
_TIMED: tuple[ModelKind, ...] = ("encoder", "decoder", "vision-language")
_TEXT: Mapping[str, ModelKind] = {"bert": "encoder", "llama": "decoder"}
_PICTURES: Mapping[str, ModelKind] = {"llava": "vision-language"}
_CONVERTED = (
    _Checked("ONNX Runtime", "1.32.0", {**_TEXT, **_PICTURES}),
    _Checked("OpenVINO", "2026.4.1", {**_TEXT, **_PICTURES}),
    _Checked("llama.cpp", "llama-cpp-python 0.3.36", _TEXT),
)
_NOT_CHECKED = ("vLLM", "SGLang")


def runtime_support(
    kind: ModelKind, model_type: str, structure: Sequence[Step]
) -> tuple[RuntimeSupport, ...]:
    """Every runtime that users ask for.

    Args:
        kind: of the model.
        model_type: of its `config.json`.
        structure: what was taken out of it.
    """
    smaller = bool(structure)
    # A token is routed to as many experts as before.
    faster = any(not isinstance(step, Experts) for step in structure)
    mixture = any(isinstance(step, Experts) for step in structure)
    name, version = _TRANSFORMERS
    timed = faster if kind in _TIMED and not mixture else None
    found = [
        RuntimeSupport(runtime=name, version=version, loads=True, smaller=smaller, faster=timed)
    ]
    for each in _CONVERTED:
        told = {"version": each.version, "loads": True, "smaller": smaller, "faster": faster}
        tried = each.models.get(model_type) == kind and not mixture
        found.append(RuntimeSupport(runtime=each.runtime, **(told if tried else {})))
    return (*found, *(RuntimeSupport(runtime=name) for name in _NOT_CHECKED))
