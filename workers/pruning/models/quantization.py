"""Weights in 8 bits, in the compressed-tensors format: int8 or FP8 (e4m3), a scale for each output.

Only weights are quantised, symmetrically and without a zero point, so that 0 is stored as 0: what
was pruned stays pruned. A scale has the dtype that its weights were stored in, and is rounded up,
so that no weight is clipped.

It is done in two steps. `Quantizer.round` sets the weights in memory to what a loader makes of the
quantised ones, so that a model is measured as it is delivered. `Quantizer.write` then writes them
in the place of the weights, with their scales; from the rounded weights it gets the same integers
again, which it checks.

Format: https://github.com/vllm-project/compressed-tensors
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.config import CompressionFormat
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    QuantizationStatus,
)
from safetensors import safe_open
from torch import Tensor, nn
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from app.errors import NonFiniteError, VerificationError
from app.planning.model_files.files import CONFIG_FILE, INDEX_FILE
from app.planning.model_files.headers import BITS, read_header
from app.recipes.modality import Modality
from app.recipes.module_patterns import has_experts, steering
from app.recipes.quantization import (
    CONVERTED,
    NO_LAYER,
    WITH_EXPERTS,
    NotQuantizableError,
    QuantizationReport,
    Quantized,
)
from workers.pruning.memory import stored
from workers.pruning.models.adapter import Adapter
from workers.pruning.models.files import (
    StoredTensor,
    header_of,
    map_file_keys,
    open_checkpoint,
    read_json,
)

_SUFFIX = "_scale"
_PIECE = 1 << 24  # weights looked at together, or bytes copied together
_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_FORMATS = {
    "int8": (CompressionFormat.int_quantized, "int", 127.0, "I8"),
    "fp8": (CompressionFormat.float_quantized, "float", 448.0, "F8_E4M3"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A linear layer whose weight is quantised.

    Attributes:
        name: of the module.
        key: of its weight in the files.
        weight: (out, in) as it is stored; what is written to it is what the model computes with.
    """

    name: str
    key: str
    weight: Tensor

    def pieces(self) -> Iterator[slice]:
        """Rows that are looked at together."""
        step = max(1, _PIECE // self.weight.shape[1])
        return (slice(first, first + step) for first in range(0, len(self.weight), step))


class Quantizer:
    """Quantises the linear layers of a model's blocks.

    Attributes:
        layers: those that are quantised, in the model's order.
        ignored: names of the other linear layers: heads, projectors, routers, and those whose
            weights transformers puts together from several tensors.
    """

    def __init__(self, adapter: Adapter, kind: Quantized) -> None:
        """Find the layers.

        Args:
            adapter: the model.
            kind: what its weights become.

        Raises:
            NotQuantizableError: the model has no such layer, or it has experts.
        """
        if has_experts(adapter.loaded.checkpoint.tensors):
            raise NotQuantizableError(WITH_EXPERTS)
        if _converted(adapter):
            raise NotQuantizableError(CONVERTED.format(name=type(adapter.model).__name__))
        self.kind = kind
        self._adapter = adapter
        self._format, type_, self._largest, self._dtype = _FORMATS[kind]
        weights = QuantizationArgs(num_bits=8, type=type_, symmetric=True, strategy="channel")
        self._scheme = QuantizationScheme(targets=["Linear"], weights=weights)
        self._compressor: Any = BaseCompressor.get_value_from_registry(self._format.value)
        self._scales: dict[str, Tensor] = {}
        self.layers = tuple(_layers(adapter))
        names = {layer.name for layer in self.layers}
        self.ignored = tuple(
            name
            for name, module in adapter.model.named_modules()
            if isinstance(module, nn.Linear) and name not in names
        )
        if not self.layers:
            raise NotQuantizableError(NO_LAYER.format(name=type(adapter.model).__name__))

    def round(self) -> QuantizationReport:
        """Set every weight to what a loader makes of the quantised one; tell what that took.

        Raises:
            NonFiniteError: a weight is not finite.
            VerificationError: a weight that was zero would not be.
        """
        zeros, rounded = {}, {}
        for layer in self.layers:
            self._scales[layer.key] = self._scale(layer)
            zeros[layer.key] = rounded[layer.key] = 0
            for rows in layer.pieces():
                weight = layer.weight[rows]
                was, found = weight == 0, self._quantized(layer, rows)
                now = found.float() == 0
                if bool((was & ~now).any()):
                    raise VerificationError(f"{layer.key}: quantising made a zero something else")
                zeros[layer.key] += int(now.sum())
                rounded[layer.key] += int((now & ~was).sum())
                weight.copy_(self._loaded(layer, rows, found))
            self._adapter.memory.release()
        weights = sum(layer.weight.numel() for layer in self.layers)
        scales = sum(scale.nbytes for scale in self._scales.values())
        return QuantizationReport(
            kind=self.kind,
            matrices=len(self.layers),
            weights=weights,
            zeros=sum(zeros.values()),
            rounded_to_zero=sum(rounded.values()),
            bytes=weights + scales,
            bytes_before=sum(layer.weight.nbytes for layer in self.layers),
            block_share=weights / self._block_weights(),
            left=len(self.ignored),
            rounded={key: count for key, count in rounded.items() if count},
        )

    def write(self, directory: Path) -> None:
        """Write a checkpoint's files anew, with quantised weights, one tensor after the other.

        Args:
            directory: of the checkpoint that the model was loaded from, or of a copy; its files
                hold the rounded weights.

        Raises:
            VerificationError: a loader would not get the weights that were rounded.
        """
        checkpoint = open_checkpoint(directory)
        layers = {layer.key: layer for layer in self.layers}
        places: dict[str, str] = {}
        for file in checkpoint.files:
            held = {key: each for key, each in checkpoint.tensors.items() if each.file == file}
            written = self._write_file(directory / file, held, layers)
            places |= dict.fromkeys(written, file)
        if (directory / INDEX_FILE).exists():
            _write_index(directory, places)
        config = read_json(directory, CONFIG_FILE)
        _write_json(directory / CONFIG_FILE, config | {"quantization_config": self.config})

    def _block_weights(self) -> int:
        towers = (t for t in self._adapter.towers if t.modality is not Modality.BRIDGE)
        held = (m for tower in towers for block in tower.blocks for m in block.matrices)
        return sum(matrix.numel for matrix in held)

    @cached_property
    def config(self) -> dict[str, Any]:
        """What config.json says of it."""
        scheme = self._scheme.model_copy(update={"format": self._format.value})
        config = QuantizationConfig(
            config_groups={"group_0": scheme},
            format=self._format.value,
            quantization_status=QuantizationStatus.COMPRESSED,
            ignore=_variants(self.ignored, self._adapter.model),
        )
        told: dict[str, Any] = config.model_dump(mode="json")
        told["version"] = version("compressed-tensors")
        # Left in 8 bits until the first forward, some classes do not `generate`: from a submodule
        # with the hooks that decompress it, a dict comes. Dequantised, buffers are not loaded.
        buffers = (name for name, _ in self._adapter.model.named_buffers())
        told["dequantize"] = not any(name.endswith(".weight") for name in buffers)
        if told["dequantize"]:
            told["run_compressed"] = False  # the same to transformers 5.5
        return told

    def _scale(self, layer: Layer) -> Tensor:
        """(out, 1), of the dtype of the weight."""
        most = torch.cat([layer.weight[rows].float().abs().amax(1) for rows in layer.pieces()])
        if not bool(most.isfinite().all()):
            raise NonFiniteError(f"{layer.key} has values that are not finite")
        exact = most / self._largest
        scale = exact.to(layer.weight.dtype)
        below = (scale.float() < exact).to(_BITS[scale.itemsize])
        scale = (scale.view(_BITS[scale.itemsize]) + below).view(scale.dtype)  # the next one up
        return torch.where(scale == 0, torch.ones_like(scale), scale)[:, None]

    def _quantized(self, layer: Layer, rows: slice) -> Tensor:
        weight, scale = layer.weight[rows].float(), self._scales[layer.key][rows].float()
        state = {"weight": weight, "weight_scale": scale}
        found: Tensor = self._compressor.compress(state, self._scheme)["weight"]
        if found.dtype.is_floating_point:  # -0 is stored as a byte that is not zero
            raw = found.view(torch.uint8)
            raw[raw == 0x80] = 0  # noqa: PLR2004 - the sign bit alone
        return found

    def _loaded(self, layer: Layer, rows: slice, quantized: Tensor) -> Tensor:
        """What the format's own reader makes of it."""
        state = {"weight": quantized, "weight_scale": self._scales[layer.key][rows]}
        found: Tensor = self._compressor.decompress(state, self._scheme)["weight"]
        return found

    def _write_file(
        self, file: Path, held: Mapping[str, StoredTensor], layers: Mapping[str, Layer]
    ) -> list[str]:
        """Write a file beside, then put it in the place of the old one; returns what it holds."""
        layout: dict[str, tuple[str, tuple[int, ...]]] = {}
        for key, tensor in held.items():
            layout[key] = (self._dtype if key in layers else tensor.dtype, tensor.shape)
            if key in layers:
                layout[key + _SUFFIX] = (tensor.dtype, (tensor.shape[0], 1))
        order = sorted(layout, key=lambda key: -BITS[layout[key][0]])  # then each is aligned
        with safe_open(file, framework="pt") as old:
            metadata = old.metadata() or {}
        new = file.with_name(f"{file.name}.new")
        with file.open("rb") as source, new.open("wb") as stream:
            stream.write(header_of({key: layout[key] for key in order}, metadata))
            for key in order:
                if key in layers:
                    for rows in layers[key].pieces():
                        stream.write(_raw(self._same(layers[key], rows)))
                    self._adapter.memory.release()
                elif key not in held:
                    stream.write(_raw(self._scales[key.removesuffix(_SUFFIX)]))
                else:
                    source.seek(held[key].begin)
                    for begin in range(held[key].begin, held[key].end, _PIECE):
                        stream.write(source.read(min(_PIECE, held[key].end - begin)))
        new.replace(file)
        return order

    def _same(self, layer: Layer, rows: slice) -> Tensor:
        found = self._quantized(layer, rows)
        if not torch.equal(self._loaded(layer, rows, found), layer.weight[rows]):
            raise VerificationError(f"{layer.key} changed after its weights were rounded")
        return found


def _layers(adapter: Adapter) -> Iterator[Layer]:
    """The linear layers of the blocks whose weight is one tensor of the files, as it is."""
    model, checkpoint = adapter.model, adapter.loaded.checkpoint
    keys = map_file_keys(model, checkpoint)
    scaled = _names(adapter, (key + _SUFFIX for key in checkpoint.tensors))
    owners: dict[int, int] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            at = id(stored(module.weight))
            owners[at] = owners.get(at, 0) + 1
    blocks = [
        f"{block.name}."
        for tower in adapter.towers
        if tower.modality is not Modality.BRIDGE
        for block in tower.blocks
    ]
    for name, module in model.named_modules():
        inside = any(f"{name}.".startswith(block) for block in blocks)
        if type(module) is not nn.Linear or not inside or steering(name, experts=False):
            continue
        places = keys.of((f"{name}.weight",))
        weight = stored(module.weight).detach()
        if len(places) != 1 or owners[id(stored(module.weight))] > 1:
            continue
        (place,) = places
        known = checkpoint.tensors[place.key]
        plain = type(weight) is Tensor or type(weight) is nn.Parameter
        if (
            plain
            and place.row == 0
            and known.shape == tuple(weight.shape)
            and known.torch_dtype == weight.dtype
            and scaled.get(place.key + _SUFFIX) == f"{name}.weight{_SUFFIX}"
        ):
            yield Layer(name, place.key, weight)


def _converted(adapter: Adapter) -> bool:
    """Whether a loader converts weights; in this format it then loads no such model at all.

    It has no way to cut tensors with scales, even where the files hold none of them. What it puts
    together it would dequantise first, and so drops what has no scale.
    """
    cuts = any(
        isinstance(each, WeightConverter)
        and len(each.target_patterns) > 1
        and any(source.endswith("weight") for source in each.source_patterns)
        for each in get_model_conversion_mapping(adapter.model)
    )
    weights = [key for key in adapter.loaded.checkpoint.tensors if key.endswith("weight")]
    return cuts or len(_names(adapter, weights)) < len(weights)


def _names(adapter: Adapter, keys: Iterable[str]) -> dict[str, str]:
    """What transformers would call tensors of files, those that it converts left out."""
    model = adapter.model
    conversions = get_model_conversion_mapping(model)
    renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
    converters = [each for each in conversions if isinstance(each, WeightConverter)]
    prefix, names = model.base_model_prefix, model.state_dict()
    names |= {f"{name}{_SUFFIX}": value for name, value in names.items()}
    found = {}
    for key in keys:
        name, pattern = rename_source_key(key, renamings, converters, prefix, names)
        if name not in names and key in names:
            name, pattern = key, None
        if pattern is None:
            found[key] = name
    return found


def _variants(names: tuple[str, ...], model: Any) -> list[str]:
    """The names of modules, as those who load the base model alone see them too."""
    prefix = f"{model.base_model_prefix}."
    bare = (name.removeprefix(prefix) for name in names)
    return list(dict.fromkeys((*names, *bare)))


def _raw(tensor: Tensor) -> memoryview:
    found: memoryview = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
    return found


def _write_index(directory: Path, places: Mapping[str, str]) -> None:
    index = read_json(directory, INDEX_FILE)
    index["weight_map"] = dict(sorted(places.items()))
    told = index.get("metadata")
    if isinstance(told, dict) and "total_size" in told:
        files = (read_header(directory / file) for file in sorted(set(places.values())))
        told["total_size"] = sum(tensor.bytes for file in files for tensor in file.values())
    _write_json(directory / INDEX_FILE, index)


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
