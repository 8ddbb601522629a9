"""JSON lines -> rows."""

import json
from collections.abc import Iterator
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from app.domain.dataset_errors import DatasetRowError, RowEmptyError
from app.domain.recipe import Strict

MAX_LINE = 1 << 20  # bytes


def _storable(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("NUL and halves of surrogate pairs are no text")
    return text


FieldText = Annotated[str, AfterValidator(_storable), Field(max_length=100_000)]


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


def parse_rows(lines: Iterator[bytes]) -> Iterator[tuple[int, Row]]:
    """Number, from 1, and content of every line.

    Args:
        lines: with their line ends; none longer than `MAX_LINE` + 1 is read on.

    Raises:
        DatasetRowError: a line is no row.
        RowEmptyError: a line is blank, or a field of it is.
    """
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE:
            raise DatasetRowError(number, f"longer than {MAX_LINE} bytes")
        if not line.strip():
            raise RowEmptyError(number, "blank line")
        yield number, _parse(number, line)


def _parse(number: int, line: bytes) -> Row:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetRowError(number, f"no JSON in UTF-8 ({error})") from error
    if not isinstance(content, dict):
        raise DatasetRowError(number, "not a JSON object")
    try:
        row = Row.model_validate(content, strict=True)
    except ValidationError as error:
        issue = error.errors()[0]
        where = ".".join(map(str, issue["loc"])) or "row"
        raise DatasetRowError(number, f"{where}: {issue['msg']}") from error
    if not set(row.fields) & {"text", "image", "prompt"}:
        raise RowEmptyError(number, "has none of text, image, prompt and answer")
    if blank := [name for name in row.fields if not getattr(row, name).strip()]:
        raise RowEmptyError(number, f"{blank[0]} is blank")
    return row
