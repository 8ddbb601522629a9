"""JSON lines -> rows."""

from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from app.bounded_json import JsonError, JsonLimits, parse_object
from app.messages import in_words
from app.strict import Strict
from app.uploads.errors import DatasetRowError, RowEmptyError

MAX_LINE = 1 << 20  # bytes
MAX_TEXT = 100_000  # characters
_LIMITS = JsonLimits(MAX_LINE, values=MAX_LINE, depth=8)


def _storable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("NUL and halves of surrogate pairs are no text")
    return text


FieldText = Annotated[str, AfterValidator(_storable), Field(max_length=MAX_TEXT)]


class Row(Strict):
    """One line of the file.

    Attributes:
        text: stands alone, or belongs to the image.
        image: path of the image in the archive.
        prompt: a question; goes with `answer` and without `text`.
        answer: what should be said to it.
        label: the class of the text or image.
    """

    text: FieldText | None = None
    image: FieldText | None = None
    prompt: FieldText | None = None
    answer: FieldText | None = None
    label: FieldText | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.prompt is None) != (self.answer is None):
            raise ValueError("prompt and answer come together")
        if self.text is not None and self.prompt is not None:
            raise ValueError("a row has a text, or a prompt and an answer")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields the row has."""
        return tuple(name for name, value in self if value is not None)


def parse_rows(lines: Iterator[bytes]) -> Iterator[tuple[int, Row | None]]:
    """Number, from 1, and content of every line; None where it says nothing.

    Args:
        lines: with their line ends; none longer than `MAX_LINE` + 1 is read on.

    Raises:
        DatasetRowError: a line is no row.
        RowEmptyError: a row has a label and nothing that it belongs to.
    """
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE:
            raise DatasetRowError(number, f"longer than {MAX_LINE} bytes")
        yield number, _parse(number, line) if line.strip() else None


def _parse(number: int, line: bytes) -> Row | None:
    try:
        content = parse_object(line, _LIMITS)
    except JsonError as error:
        raise DatasetRowError(number, f"{error}; each line is a JSON object of its own") from error
    try:
        row = Row.model_validate(content, strict=True)
    except ValidationError as error:
        raise DatasetRowError(number, _reason(error)) from error
    if not row.fields or any(not getattr(row, name).strip() for name in row.fields):
        return None
    if not set(row.fields) & {"text", "image", "prompt"}:
        raise RowEmptyError(number, "has none of text, image, prompt and answer")
    return row


def _reason(error: ValidationError) -> str:
    """The first thing that is wrong, in a sentence."""
    issue = error.errors()[0]
    name = ".".join(map(str, issue["loc"]))[:100]
    match issue["type"]:
        case "extra_forbidden":
            return f"unknown field {name!r}; a row has {', '.join(Row.model_fields)}"
        case "string_type":
            return f"{name} is not a text"
        case "too_long":
            return f"{name} is longer than {MAX_TEXT} characters"
        case "value_error":
            reason = str(issue["ctx"]["error"])
            return f"{name}: {reason}" if name else reason
        case _:
            return f"{name} {in_words(issue)}"
