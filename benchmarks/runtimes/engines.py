"""Ways to run a checkpoint on a CPU, one thread each."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import CompressedTensorsConfig


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in a runtime.

    Attributes:
        run: one forward; returns hidden states or logits.
        bytes: that the weights take there once it has run.
    """

    run: Callable[[], Any]
    bytes: Callable[[], int]


def transformers(model_class: Any, tokens: torch.Tensor, directory: Path, scratch: Path) -> Loaded:
    """Plain `from_pretrained`."""
    del scratch
    model = model_class.from_pretrained(directory).eval()

    def run() -> Any:
        with torch.no_grad():
            return model(tokens)[0].numpy()

    return Loaded(run, lambda: sum(p.nbytes for p in model.parameters()))


def onnx_runtime(model_class: Any, tokens: torch.Tensor, directory: Path, scratch: Path) -> Loaded:
    """Exported by torch, run by ONNX Runtime; the bytes are those of the exported file."""
    import onnxruntime  # noqa: PLC0415  in this environment alone

    file = scratch / "model.onnx"
    program = torch.onnx.export(_plain(directory, model_class), (tokens,), dynamo=True)
    program.save(file)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    size = sum(each.stat().st_size for each in scratch.iterdir())
    return Loaded(lambda: session.run(None, {name: tokens.numpy()})[0], lambda: size)


def openvino(model_class: Any, tokens: torch.Tensor, directory: Path, scratch: Path) -> Loaded:
    """Converted by OpenVINO, run by its plugin for CPUs; the bytes are those of its file."""
    import openvino as ov  # noqa: PLC0415  the same

    model = ov.convert_model(_plain(directory, model_class), example_input=(tokens,))
    ov.save_model(model, scratch / "model.xml", compress_to_fp16=False)
    compiled = ov.compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": 1})
    size = sum(each.stat().st_size for each in scratch.iterdir())
    return Loaded(lambda: compiled([tokens.numpy()])[0], lambda: size)


class _First(torch.nn.Module):
    """A model that takes tokens alone and gives one tensor."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=tokens, **self.options)[0]

    @property
    def options(self) -> dict[str, Any]:
        return {"use_cache": False} if self.model.can_generate() else {}


def _plain(directory: Path, model_class: Any) -> torch.nn.Module:
    """The model in floating point: exporters know no weights in the compressed-tensors format."""
    config = json.loads((directory / "config.json").read_text())
    quantized = {"quantization_config": CompressedTensorsConfig(dequantize=True)}
    options = quantized if "quantization_config" in config else {}
    return _First(model_class.from_pretrained(directory, **options)).eval()


ENGINES: dict[str, tuple[str, Callable[..., Loaded]]] = {
    "transformers": ("transformers", transformers),
    "ONNXRuntime": ("onnxruntime", onnx_runtime),
    "OpenVINO": ("openvino", openvino),
}


def installed(package: str) -> str | None:
    """Its version; None where it is not here."""
    try:
        return version(package)
    except ModuleNotFoundError:
        return None
