"""Ways to run a checkpoint on a CPU, in float32, one thread each.

Imported by the processes that run the models, in either environment: needs torch and transformers.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers as tf

ANSWER = 16  # tokens that a model writes


@dataclass(frozen=True)
class Given:
    """What a checkpoint is loaded by, and run on.

    Attributes:
        loader: the class of transformers.
        inputs: of one forward, by name.
        prompt: how many of its tokens an answer is written to; none by an encoder.
    """

    loader: str
    inputs: dict[str, torch.Tensor]
    prompt: int | None = None

    @property
    def masked(self) -> dict[str, torch.Tensor]:
        """The inputs, and that every token counts."""
        return self.inputs | {"attention_mask": torch.ones_like(self.inputs["input_ids"])}

    @property
    def prompted(self) -> dict[str, torch.Tensor]:
        """Inputs of an answer."""
        texts = {"input_ids", "attention_mask"}
        return {k: v[:, : self.prompt] if k in texts else v for k, v in self.masked.items()}


class Loaded(NamedTuple):
    """A checkpoint in a runtime.

    Attributes:
        run: one forward; returns hidden states or logits.
        decode: writes an answer; None where nobody tried.
    """

    run: Callable[[], Any]
    decode: Callable[[], Any] | None = None


def _load_transformers(given: Given, directory: Path) -> Loaded:
    return _by_transformers(getattr(tf, given.loader).from_pretrained(directory).eval(), given)


def _by_transformers(model: Any, given: Given) -> Loaded:
    """What has the interface of transformers."""

    def run() -> Any:
        with torch.no_grad():
            return model(**given.masked)[0].numpy()

    def decode() -> Any:
        length = {"max_new_tokens": ANSWER, "min_new_tokens": ANSWER}
        return model.generate(**given.prompted, do_sample=False, pad_token_id=0, **length)

    return Loaded(run, decode if given.prompt else None)


class _First(torch.nn.Module):
    """A model that gives one tensor."""

    def __init__(self, model: Any, options: dict[str, Any]) -> None:
        super().__init__()
        self.model, self.options = model, options

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        return self.model(**inputs, **self.options)[0]


def _to_onnx(given: Given, directory: Path, out: Path) -> None:
    """Exported by torch without a cache, so it writes no answers.

    The weights are made floats before: exporters know none in the compressed-tensors format.
    """
    out.mkdir()
    os.environ["TRANSFORMERS_DISABLE_TORCH_CHECK"] = "1"  # LLaVA's check of its inputs: no operator
    config = json.loads((directory / "config.json").read_text())
    floats = {"quantization_config": tf.CompressedTensorsConfig(dequantize=True)}
    options = floats if "quantization_config" in config else {}
    model = getattr(tf, given.loader).from_pretrained(directory, **options)
    plain = _First(model, {"use_cache": False} if given.prompt else {}).eval()
    program = torch.onnx.export(plain, (), kwargs=given.inputs, dynamo=True)
    program.save(out / "model.onnx")


def _load_onnx(given: Given, directory: Path) -> Loaded:
    import onnxruntime  # noqa: PLC0415  in one environment alone

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    file = directory / "model.onnx"
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    inputs = {name: value.numpy() for name, value in given.inputs.items()}
    return Loaded(lambda: session.run(None, inputs)[0])


_OPTIMUM = {
    "AutoModel": "OVModelForFeatureExtraction",
    "AutoModelForCausalLM": "OVModelForCausalLM",
    "AutoModelForImageTextToText": "OVModelForVisualCausalLM",
}


def _to_openvino(given: Given, directory: Path, out: Path) -> None:
    """Exported by optimum-intel."""
    from optimum import intel  # noqa: PLC0415  the same

    loader = getattr(intel, _OPTIMUM[given.loader])
    model = loader.from_pretrained(directory, export=True, compile=False, load_in_8bit=False)
    model.save_pretrained(out)


def _load_openvino(given: Given, directory: Path) -> Loaded:
    from optimum import intel  # noqa: PLC0415  the same

    loader = getattr(intel, _OPTIMUM[given.loader])
    settings = {"INFERENCE_NUM_THREADS": "1", "INFERENCE_PRECISION_HINT": "f32"}
    return _by_transformers(loader.from_pretrained(directory, ov_config=settings), given)


def _to_gguf(given: Given, directory: Path, out: Path) -> None:
    """By llama.cpp's own converter, which its sources carry."""
    out.mkdir()
    converter = Path(sys.prefix) / "llama.cpp/convert_hf_to_gguf.py"
    parts = [["--mmproj"], []] if "pixel_values" in given.inputs else [[]]
    for part in parts:
        options = [*part, "--outtype", "f32", "--outfile", out / f"model{'-'.join(part)}.gguf"]
        command = [sys.executable, converter, directory, *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])


def _load_gguf(given: Given, directory: Path) -> Loaded:
    """A decoder, or an encoder; nobody has come further than the converter with others."""
    import llama_cpp as cpp  # noqa: PLC0415  the same

    tokens = given.inputs["input_ids"]
    rows, length = tokens.shape
    model = cpp.Llama(
        str(directory / "model.gguf"),
        n_ctx=2 * tokens.numel(),
        n_batch=tokens.numel(),
        n_ubatch=tokens.numel(),
        n_threads=1,
        n_threads_batch=1,
        logits_all=True,
        embedding=not given.prompt,
        pooling_type=cpp.LLAMA_POOLING_TYPE_NONE,
        n_seq_max=rows,
        use_mmap=False,  # how well a file's pages lie in the cache differs from file to file
        verbose=False,
    )

    def encode() -> Any:
        model._batch.reset()  # noqa: SLF001  `embed` takes no tokens
        for number, row in enumerate(tokens.tolist()):
            model._batch.add_sequence(row, number, logits_all=True)  # noqa: SLF001
        model._ctx.decode(model._batch)  # noqa: SLF001
        states = cpp.llama_get_embeddings(model._ctx.ctx)  # noqa: SLF001
        shape = (rows, length, model.n_embd())
        return np.ctypeslib.as_array(states, (int(np.prod(shape)),)).reshape(shape).copy()

    def run() -> Any:
        model.reset()
        model.eval(tokens[0].tolist())
        return model.scores[None, :length].copy()

    def decode() -> Any:
        model.reset()
        written = model.generate(tokens[0, : given.prompt].tolist(), temp=0.0)
        return [next(written) for _ in range(ANSWER)]

    return Loaded(run, decode) if given.prompt else Loaded(encode)


class Engine(NamedTuple):
    """A runtime.

    Attributes:
        package: whose version counts.
        module: to import before memory is counted.
        convert: writes what it loads into a directory; None where it loads checkpoints.
        load: loads that.
        models: that it is for, of `SOURCES`.
        environment: that it is installed in.
    """

    package: str
    module: str
    convert: Callable[[Given, Path, Path], None] | None
    load: Callable[[Given, Path], Loaded]
    models: tuple[str, ...] = ("encoder", "decoder", "vision-language")
    environment: Path = Path(".venv-runtimes")


HAVE_TOKENIZERS = ("encoder", "smollm2", "vision-language")
ENGINES = {
    "transformers": Engine("transformers", "transformers", None, _load_transformers),
    "ONNXRuntime": Engine("onnxruntime", "onnxruntime", _to_onnx, _load_onnx),
    "OpenVINO": Engine(
        *("openvino", "optimum.intel", _to_openvino, _load_openvino),
        environment=Path(".venv-optimum"),
    ),
    "llama.cpp": Engine("llama-cpp-python", "llama_cpp", _to_gguf, _load_gguf, HAVE_TOKENIZERS),
}
