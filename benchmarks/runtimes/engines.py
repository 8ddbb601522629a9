"""Ways to run a checkpoint on a CPU, one thread each."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import CompressedTensorsConfig

PROMPT, ANSWER = 16, 32  # tokens, where a model writes


@dataclass(frozen=True)
class Loaded:
    """A checkpoint in a runtime.

    Attributes:
        run: one forward; returns hidden states or logits.
        bytes: that the weights take there once it has run.
        decode: writes some tokens, one at a time, after a short prompt; None where nobody tried.
    """

    run: Callable[[], Any]
    bytes: Callable[[], int]
    decode: Callable[[], Any] | None = None


def transformers(model_class: Any, tokens: torch.Tensor, directory: Path, scratch: Path) -> Loaded:
    """Plain `from_pretrained`."""
    del scratch
    model = model_class.from_pretrained(directory).eval()

    def run() -> Any:
        with torch.no_grad():
            return model(tokens)[0].numpy()

    def decode() -> Any:
        length = {"max_new_tokens": ANSWER, "min_new_tokens": ANSWER}
        return model.generate(tokens[:, :PROMPT], do_sample=False, pad_token_id=0, **length)

    size = partial(_parameter_bytes, model)
    return Loaded(run, size, decode if model.can_generate() else None)


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


def llama_cpp(model_class: Any, tokens: torch.Tensor, directory: Path, scratch: Path) -> Loaded:
    """Made a float32 GGUF file by llama.cpp's own converter, which its sources carry."""
    import llama_cpp as cpp  # noqa: PLC0415  the same

    del model_class
    file = scratch / "model.gguf"
    converter = Path(sys.prefix) / "llama.cpp/convert_hf_to_gguf.py"
    command = [sys.executable, converter, directory, "--outtype", "f32", "--outfile", file]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    length = tokens.shape[1]
    model = cpp.Llama(
        str(file),
        n_ctx=2 * length,
        n_batch=length,
        n_threads=1,
        n_threads_batch=1,
        logits_all=True,
        use_mmap=False,  # how well a file's pages lie in the cache differs from file to file
        verbose=False,
    )

    def run() -> Any:
        model.reset()
        model.eval(tokens[0].tolist())
        return model.scores[None, :length].copy()

    def decode() -> Any:
        model.reset()
        written = model.generate(tokens[0, :PROMPT].tolist(), temp=0.0)
        return [next(written) for _ in range(ANSWER)]

    return Loaded(run, lambda: cpp.llama_model_size(model.model), decode)


def _parameter_bytes(model: torch.nn.Module) -> int:
    return sum(p.nbytes for p in model.parameters())


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


class Engine(NamedTuple):
    """A runtime: the package that it comes in, what loads a checkpoint, models that it is for."""

    package: str
    load: Callable[..., Loaded]
    sources: tuple[str, ...] = ("encoder", "decoder", "smollm2")


ENGINES = {
    "transformers": Engine("transformers", transformers),
    "ONNXRuntime": Engine("onnxruntime", onnx_runtime),
    "OpenVINO": Engine("openvino", openvino),
    "llama.cpp": Engine("llama-cpp-python", llama_cpp, ("smollm2",)),  # has a tokenizer
}


def installed(package: str) -> str | None:
    """Its version; None where it is not here."""
    try:
        return version(package)
    except ModuleNotFoundError:
        return None
