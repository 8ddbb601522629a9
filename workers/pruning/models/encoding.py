"""Calibration records as the inputs of one loaded model.

`RecordEncoder` is the half of an adapter that knows processors and texts; families override
`encode`, `prompt` and `split` where a model's processor wants something special.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, TypeAlias

from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor

from app.errors import CalibrationDataError
from workers.pruning.models.inputs import inputs, limits
from workers.pruning.models.inputs.inputs import CalibrationRecord, naming_record
from workers.pruning.models.loading import LoadedModel

Encode: TypeAlias = Callable[[CalibrationRecord, int], inputs.Sample]
Write: TypeAlias = Callable[[str], dict[str, Any]]
_IMAGES = {"pixel_values", "flattened_patches"}


class RecordEncoder:
    """Turns records into batches for one loaded model."""

    def __init__(self, loaded: LoadedModel) -> None:
        """Encode for this model, with the processor it was loaded with."""
        self.loaded = loaded
        self.model = loaded.model
        self.processor = loaded.processor

    # -- what families override ------------------------------------------------------------

    def encode(self, record: CalibrationRecord, max_length: int) -> inputs.Sample:
        """Inputs of one record, each entry with a leading dimension of one.

        Encoder-decoders read one part of the text and write the other, see `split`; those that
        read no text write all of it.

        Raises:
            CalibrationDataError: the record cannot feed this model.
        """
        reads, sees = "input_ids" in self.accepted, not self.accepted.isdisjoint(_IMAGES)
        if not (reads or sees):
            raise CalibrationDataError(
                f"{type(self.model).__name__} takes neither text nor images, so no calibration set "
                "can feed it; choose a method that needs none."
            )
        if not (reads or self._writes):
            inputs.refuse_text(record)
            return inputs.encode_image(self.image_processor, inputs.image_of(record))
        read = written = inputs.text_of(record)
        if reads and self._writes:
            read, written = self.split(read)
        if not sees:
            inputs.refuse_image(record)
            sample = inputs.encode_text(self.tokenizer, read, max_length)
        elif not reads:
            sample = inputs.encode_image(self.image_processor, inputs.image_of(record))
        else:
            sample = self.encode_pair(read, inputs.image_of(record), max_length)
        if self._writes:
            target = inputs.encode_target(self.tokenizer, written, max_length)
            if "labels" not in self.accepted:  # a bare encoder-decoder
                target["decoder_input_ids"] = target.pop("labels")
            sample |= target
        elif "decoder_attention_mask" in self.accepted and "attention_mask" in sample:
            # A classifying encoder-decoder reads the text in its decoder too, moved on by one.
            sample["decoder_attention_mask"] = sample["attention_mask"]
        return sample

    def encode_pair(
        self, text: str, image: Image.Image, max_length: int, write: Write | None = None
    ) -> inputs.Sample:
        """Inputs of a text and an image together, as `encode`; the text is cut, the image never.

        Args:
            text: of the record.
            image: of the record, RGB.
            max_length: tokens of the text, special ones included.
            write: arguments of the processor for a text; the prompt alone by default.

        Raises:
            CalibrationDataError: the text holds a placeholder, or the image leaves no room.
        """
        processor = self.image_text_processor
        if not self.placeholders:
            return inputs.encode_apart(processor, self.prompt(text), image, max_length)
        limits.refuse_placeholders(self.tokenizer, text, self.placeholders)
        room = inputs.Room(max_length, self.longest, limits.has_learned_positions(self.model))
        return inputs.encode_pair(processor, write or self._written, text, image, room)

    def _written(self, text: str) -> dict[str, Any]:
        written: dict[str, Any] = {"text": [self.prompt(text)]}
        if "mm_token_type_ids" in self.accepted:
            written["return_mm_token_type_ids"] = True
        return written

    def prompt(self, text: str) -> str:
        """Text for a multimodal processor, with its image placeholder where it wants one."""
        for name in ("boi_token", "image_token"):
            if isinstance(token := getattr(self.processor, name, None), str):
                return f"{token}{text}"
        return text

    def split(self, text: str) -> tuple[str, str]:
        """What an encoder-decoder reads, and what it writes."""
        return inputs.halves(text)

    # -- services to families and callers --------------------------------------------------

    def batches(
        self, records: Sequence[CalibrationRecord], *, batch_size: int, max_length: int
    ) -> Iterator[dict[str, Tensor]]:
        """Model inputs for the records, in order.

        Args:
            records: the calibration set.
            batch_size: records per batch; the last may have fewer.
            max_length: tokens kept per text, special tokens included; placeholders of images are
                not counted, and never cut.

        Raises:
            CalibrationDataError: empty set, no processor, or a record the model cannot take; the
                message names it by its number.
        """
        if not records:
            raise CalibrationDataError("the set is empty")
        self.refuse_no_processor()
        numbered = list(enumerate(records, start=1))
        for start in range(0, len(numbered), batch_size):
            group = numbered[start : start + batch_size]
            samples = [self.encoded(self.encode, each, n, max_length) for n, each in group]
            yield self.joined(samples)

    def encoded(
        self, encode: Encode, record: CalibrationRecord, place: int, max_length: int
    ) -> inputs.Sample:
        """What `encode` makes of a record, checked against what the model takes.

        Args:
            encode: given the record and the tokens its text may have.
            record: any.
            place: its number in the set, from 1, where it does not carry its own.
            max_length: as in `batches`.

        Raises:
            CalibrationDataError: the model cannot take the record; the message names it.
        """
        with naming_record(record.number or place):
            sample = encode(record, min(max_length, self.longest))
            rows = limits.vocabulary_size(self.model)
            for key in ("input_ids", "decoder_input_ids"):
                if rows is not None and key in sample:
                    limits.refuse_unknown_ids(key, sample[key], rows, self.placeholders)
            return sample

    def joined(self, samples: Sequence[inputs.Sample]) -> dict[str, Tensor]:
        """Samples as one batch on the model's device.

        Raises:
            CalibrationDataError: they cannot share a batch.
        """
        batch = inputs.collate(samples, self._pad_id)
        return {key: self._placed(value) for key, value in batch.items() if self._takes(key)}

    def refuse_no_processor(self) -> None:
        """Raise where nothing turns records into inputs.

        Raises:
            CalibrationDataError: the message has the reason.
        """
        if self.processor is None:
            raise CalibrationDataError(
                "The checkpoint has no usable tokenizer or processor; add its files, or choose a "
                f"method that needs no calibration data. ({self.loaded.processor_problem})"
            )

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer.

        Raises:
            CalibrationDataError: it has none.
        """
        found = getattr(self.processor, "tokenizer", self.processor)
        if not isinstance(found, PreTrainedTokenizerBase):
            raise CalibrationDataError("The checkpoint has no tokenizer; add its files.")
        return found

    @property
    def image_processor(self) -> BaseImageProcessor:
        """The checkpoint's image processor.

        Raises:
            CalibrationDataError: it has none.
        """
        found = getattr(self.processor, "image_processor", self.processor)
        if not isinstance(found, BaseImageProcessor):
            raise CalibrationDataError("The checkpoint has no image processor; add its files.")
        return found

    @property
    def image_text_processor(self) -> ProcessorMixin:
        """The checkpoint's processor of images and texts.

        Raises:
            CalibrationDataError: it has none.
        """
        if not isinstance(self.processor, ProcessorMixin):
            raise CalibrationDataError(
                "The checkpoint has no processor for images and texts together; add its files."
                + (f" ({self.loaded.processor_problem})" if self.loaded.processor_problem else "")
            )
        return self.processor

    @property
    def accepted(self) -> frozenset[str]:
        """Names of the arguments of the model's forward."""
        return frozenset(inspect.signature(self.model.forward).parameters)

    def _takes(self, key: str) -> bool:
        """Tokenizers offer segment ids to models that know of none."""
        return key != "token_type_ids" or key in self.accepted

    @property
    def _writes(self) -> bool:
        """Whether a decoder of its own is to be fed."""
        bare = "labels" not in self.accepted and "decoder_input_ids" in self.accepted
        return bool(self.loaded.config.is_encoder_decoder) and (bare or self.model.can_generate())

    def _placed(self, value: Tensor) -> Tensor:
        value = value.to(self.model.device)
        return value.to(self.model.dtype) if value.is_floating_point() else value

    @cached_property
    def longest(self) -> int:
        """Tokens the text side has positions for."""
        return limits.longest_text(self.model)

    @cached_property
    def placeholders(self) -> dict[int, str]:
        """Tokens that stand for images, by id."""
        return limits.placeholders(self.processor, self.loaded.config)

    @property
    def _pad_id(self) -> int:
        """What to pad with: any id will do, masked as it is, so long as the model knows it.

        Classifiers on a decoder tell by it where a text ends, so theirs decides.
        """
        pad = inputs.pad_id_of(self.processor)
        config = self.loaded.config.get_text_config()
        own = getattr(config, "pad_token_id", None)
        if type(self.model).__name__.endswith("SequenceClassification"):
            pad = pad if own is None else own
            config.pad_token_id = pad
        return pad if 0 <= pad < (limits.vocabulary_size(self.model) or pad + 1) else 0
