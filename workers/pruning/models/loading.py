"""Load a checkpoint directory: safetensors only, no remote code, nothing missing."""

import functools
import logging
import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import ProcessorMixin
from transformers.core_model_loading import WeightConverter
from transformers.image_processing_utils import BaseImageProcessor
from transformers.utils import logging as transformers_logging

from app.errors import ModelLoadError, UnsupportedArchitectureError
from app.messages import near_names, words_of
from app.planning.model_files.outlines import check_form
from workers.pruning.memory import Memory, out_of_memory
from workers.pruning.models.conversions import Assembled, assemble, fill
from workers.pruning.models.files import (
    Checkpoint,
    cuts_rows,
    generate_plainly,
    map_file_keys,
    map_tensors,
    open_checkpoint,
    plain_directory,
    read_json,
)
from workers.pruning.models.inputs.limits import placeholders
from workers.pruning.models.layout.discovery import find_stacks
from workers.pruning.models.layout.experts import open_experts
from workers.pruning.models.layout.precision import compute_in, suitable_dtype
from workers.pruning.models.processors import images_and_texts


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A model in eval mode with what belongs to it.

    Attributes:
        model: every weight read from the files.
        config: the model's configuration.
        processor: the checkpoint's own processor, tokenizer or image processor; None without one.
        checkpoint: headers of the files the model was read from.
        memory: what of it is in memory.
        processor_problem: why there is no processor, in transformers' words.
    """

    model: transformers.PreTrainedModel
    config: transformers.PreTrainedConfig
    processor: Any
    checkpoint: Checkpoint
    memory: Memory
    processor_problem: str | None = None

    @property
    def directory(self) -> Path:
        """Directory of the checkpoint."""
        return self.checkpoint.directory


def load_model(
    path: Path,
    dtype: torch.dtype | None = None,
    memory: Memory | None = None,
    device: torch.device | None = None,
) -> LoadedModel:
    """Load the model named by `config.architectures[0]`; its weights are read when touched.

    Args:
        path: directory with config.json and safetensors files.
        dtype: floating dtype to compute in; weights stay as they are stored. By default what suits
            the device and the weight matrices; where these differ, the narrowest dtype that holds
            them all.
        memory: where weights that are written to go; by default they stay in memory.
        device: where to compute; by default the CPU. Weights stay in their files and are copied
            there block by block.

    Raises:
        UnsupportedArchitectureError: transformers has no such class, or it needs its own code.
        ModelLoadError: files missing, broken or quantised; tensors missing or of another shape.
    """
    saved = read_json(path, "config.json")
    model_class: Any = _model_class(saved)  # transformers' class methods carry no annotations
    _refuse_indirections(saved)
    checkpoint = open_checkpoint(path)
    check_form(saved, checkpoint.tensors)
    memory = memory or Memory()
    device = device or torch.device("cpu")
    dtypes = _matrix_dtypes(checkpoint)
    dtype = dtype or suitable_dtype(functools.reduce(torch.promote_types, dtypes), device)
    tensors = map_tensors(checkpoint, memory)
    with _quiet(), plain_directory(path) as plain:
        try:
            config = model_class.config_class.from_pretrained(plain, local_files_only=True)
            model, info = _fill(model_class, config, dtypes.most_common(1)[0][0], tensors)
        except ModelLoadError:
            raise
        except Exception as error:  # whatever a foreign file made transformers raise
            if out_of_memory(error):
                raise
            if "Padding_idx must be" in str(error):
                raise ModelLoadError(
                    f"config.json says pad_token_id {_pad_ids(saved)}, and the vocabulary has "
                    "no such token, so transformers does not load the model; set it to null, or to "
                    "the number of a token"
                ) from error
            raise ModelLoadError(
                f"{model_class.__name__} does not load: {words_of(error, plain, path.name)}"
            ) from error
        processor, problem = load_processor(plain, path.name)
    generate_plainly(model, path, placeholders(processor, config))
    _refuse_incomplete(info)
    _undo_casts(model, checkpoint, tensors)
    compute_in(model, dtype, device)
    memory.watch(block for stack in find_stacks(model) for _, block in stack.blocks)
    return LoadedModel(model, model.config, processor, checkpoint, memory, problem)


def _fill(
    model_class: Any, config: Any, dtype: torch.dtype, tensors: Mapping[str, torch.Tensor]
) -> tuple[transformers.PreTrainedModel, dict[str, Any]]:
    """Build the model without weights and give it views of the files; what was found comes too."""
    with _assembling(tensors) as assembled:
        model, info = model_class.from_pretrained(
            None,
            config=config,
            state_dict=dict(tensors),
            dtype=dtype,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # refused by the caller, by name
            output_loading_info=True,
        )
    if assembled:
        fill(model, assembled)
    if any("Experts" in type(module).__name__ for module in model.modules()):
        open_experts(model)
    return model, info


@contextmanager
def _assembling(tensors: Mapping[str, torch.Tensor]) -> Iterator[dict[str, Assembled]]:
    """Inside, transformers loads models without the copies that its conversions make.

    Yields:
        Parameters by name, filled while loading; the model has placeholders for them.
    """
    found: dict[str, Assembled] = {}
    keys: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    own_add, own_convert = WeightConverter.add_tensor, WeightConverter.convert

    def add(self: WeightConverter, target: str, source: str, pattern: str, tensor: Any) -> None:
        keys[id(self)][pattern].append(source)
        own_add(self, target, source, pattern, tensor)

    def convert(self: Any, name: str, model: Any = None, config: Any = None, **others: Any) -> Any:
        collected = self.collected_tensors

        def elsewhere(probes: Mapping[str, list[torch.Tensor]], shapes: Any) -> Mapping[str, Any]:
            self.collected_tensors = defaultdict(list, probes)
            return dict(own_convert(self, name, model=shapes, config=config))

        sources = {p: {key: tensors[key] for key in named} for p, named in keys[id(self)].items()}
        made = None if cuts_rows(self) else assemble(sources, elsewhere, model)
        self.collected_tensors = collected
        if made is None:
            return own_convert(self, name, model=model, config=config, **others)
        collected.clear()
        found.update(made)
        return {n: torch.zeros((), dtype=w.dtype).expand(w.shape) for n, w in made.items()}

    replaced: Any = WeightConverter
    replaced.add_tensor, replaced.convert = add, convert
    try:
        yield found
    finally:
        del replaced.add_tensor  # its base class has it
        replaced.convert = own_convert


def _model_class(config: dict[str, Any]) -> type[transformers.PreTrainedModel]:
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise UnsupportedArchitectureError(
            "config.json names no architecture; add the model class, as in "
            '"architectures": ["LlamaForCausalLM"].'
        )
    found = getattr(transformers, names[0], None)
    if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
        return found
    if config.get("auto_map"):
        raise UnsupportedArchitectureError(
            f"{names[0]} needs code from the checkpoint (auto_map), which is never run."
        )
    raise UnsupportedArchitectureError(
        f"transformers {transformers.__version__} has no model class {names[0]}."
        + near_names(names[0], _model_class_names())
    )


@functools.cache
def _model_class_names() -> tuple[str, ...]:
    return tuple(name for name in dir(transformers) if "Model" in name or "For" in name)


def _refuse_indirections(config: dict[str, Any]) -> None:
    if config.get("transformers_weights"):
        raise ModelLoadError("config.json redirects to other weight files (transformers_weights).")


def _pad_ids(config: dict[str, Any]) -> str:
    parts = (config, *(part for part in config.values() if isinstance(part, dict)))
    said = {str(part["pad_token_id"]) for part in parts if "pad_token_id" in part}
    return " and ".join(sorted(said))


def _undo_casts(
    model: transformers.PreTrainedModel, checkpoint: Checkpoint, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Give parameters that transformers cast to one dtype the tensors of the files back."""
    stored = {tensor.torch_dtype for tensor in checkpoint.tensors.values()} - {None}
    if len(stored | {p.dtype for p in model.parameters()}) == 1:
        return
    places = map_file_keys(model, checkpoint).places
    known: dict[nn.Parameter, nn.Parameter] = {}
    for name, parameter in model.named_parameters():
        if (place := places.get(name)) is not None:
            tensor = tensors[place.key]
            if tensor.shape != parameter.shape:  # several parameters are cut from it
                tensor = tensor[place.row : place.row + len(parameter)]
            if tensor.dtype != parameter.dtype and tensor.shape == parameter.shape:
                known[parameter] = nn.Parameter(tensor, requires_grad=False)
    for module in model.modules():
        for entry, held in module._parameters.items():  # noqa: SLF001 - ties stay
            if held in known:
                module._parameters[entry] = known[held]  # noqa: SLF001 - the same


def _matrix_dtypes(checkpoint: Checkpoint) -> Counter[torch.dtype]:
    """The floating dtypes of the weight matrices, with how many values each has."""
    found = Counter[torch.dtype]()
    for tensor in checkpoint.tensors.values():
        if tensor.torch_dtype is not None and len(tensor.shape) > 1:
            found[tensor.torch_dtype] += math.prod(tensor.shape)
    if not found:
        raise ModelLoadError("The checkpoint holds no floating-point weight matrix.")
    return found


def _refuse_incomplete(info: dict[str, Any]) -> None:
    if missing := sorted(info["missing_keys"]):
        raise ModelLoadError(
            f"{len(missing)} tensors are missing from the checkpoint and would be random: "
            f"{', '.join(missing[:5])}. Fetch it again, or correct `architectures` in config.json."
        )
    if mismatched := sorted(info["mismatched_keys"]):
        key, stored, expected = mismatched[0]
        raise ModelLoadError(
            f"{len(mismatched)} tensors have another shape than config.json says; "
            f"{key} is {tuple(stored)}, not {tuple(expected)}."
        )
    if errors := info.get("conversion_errors"):
        raise ModelLoadError(f"Tensors could not be converted: {', '.join(sorted(errors)[:5])}.")


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no load report: what matters is raised."""
    control: Any = transformers_logging  # some of its functions carry no annotations
    bars = control.is_progress_bar_enabled()
    verbosity = control.get_verbosity()
    control.disable_progress_bar()
    control.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        control.set_verbosity(verbosity)
        if bars:
            control.enable_progress_bar()


_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt"),
    *("spiece.model", "sentencepiece.bpe.model", "tekken.json"),
)
_IMAGES = ("preprocessor_config.json", "image_processor_config.json")
_OPTIONS: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def load_processor(directory: Path, name: str) -> tuple[Any, str | None]:
    """What turns records into model inputs, or None; and what is wrong where something is.

    Calibration sets hold images and texts, so a processor whose other parts (videos, sounds) cannot
    be had is put together without them.

    Args:
        directory: of the checkpoint's files.
        name: what messages call it.
    """
    auto: Any = transformers.AutoProcessor  # auto classes carry no annotations
    found, problem = None, None
    try:
        found = auto.from_pretrained(directory, **_OPTIONS)
    except Exception as error:  # noqa: BLE001 (whatever foreign files make three libraries raise)
        problem = words_of(error, directory, name)
    if not isinstance(found, ProcessorMixin):  # it may be a part alone
        with suppress(Exception):  # the first reason counts
            found = images_and_texts(directory, _OPTIONS) or found
    return found, _cause(directory, name, found) or problem


def _cause(directory: Path, name: str, found: Any) -> str | None:
    """Which part cannot be read, and why: transformers names it for none of the parts it tries."""
    untyped: Any = transformers
    parts = (
        ("tokenizer", untyped.AutoTokenizer, _TOKENIZER, transformers.PreTrainedTokenizerBase),
        ("image processor", untyped.AutoImageProcessor, _IMAGES, BaseImageProcessor),
    )
    for part, auto, files, kind in parts:
        there = [file for file in files if (directory / file).exists()]
        attribute = getattr(found, part.replace(" ", "_"), found)
        if there and not isinstance(attribute, kind):
            try:
                auto.from_pretrained(directory, **_OPTIONS)
            except Exception as error:  # noqa: BLE001 (as above)
                return f"its {part} cannot be read: {words_of(error, directory, name)}"
    return None
