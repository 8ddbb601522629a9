"""The form by which a browser uploads: short fields, and one file, which goes to the disk."""

from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from app.uploads.errors import DatasetFormError

MEDIA_TYPE = "multipart/form-data"
OVERHEAD = 16 << 10  # bytes of a form beside its file
_FIELD = 4 << 10  # bytes


class UploadForm:
    """A form that is read as it comes (RFC 7578).

    Attributes:
        fields: text by name, of parts that are no files.
    """

    def __init__(self, content_type: str, file: BinaryIO) -> None:
        """Nothing has come yet.

        Args:
            content_type: of the request.
            file: open for writing; takes the content of the one file of the form.

        Raises:
            DatasetFormError: it does not say where its parts begin.
        """
        self.fields: dict[str, str] = {}
        self._files = 0
        self._beside = 0  # bytes that are not the file's
        self._ended = False
        self._file = file
        self._header = self._value = b""
        self._name = ""
        self._text: bytearray | None = bytearray()  # of a field; None in the file
        _, options = parse_options_header(content_type)
        try:
            self._parser = MultipartParser(
                options.get(b"boundary", b""),
                {
                    "on_part_begin": self._begin_part,
                    "on_header_begin": self._begin_header,
                    "on_header_field": self._name_header,
                    "on_header_value": self._fill_header,
                    "on_header_end": self._end_header,
                    "on_part_data": self._take,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _broken(error) from error

    def write(self, chunk: bytes) -> None:
        """Read on.

        Raises:
            DatasetFormError: this is no such form, or it has a second file, a long field, or much
                beside its file.
        """
        self._beside += len(chunk)
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _broken(error) from error
        if self._beside > OVERHEAD:
            raise DatasetFormError(f"the form has more than {OVERHEAD} bytes beside its file")

    def end(self) -> None:
        """Nothing more comes.

        Raises:
            DatasetFormError: it is cut off, or has no file.
        """
        if not self._ended:
            raise DatasetFormError("the form is cut off")
        if not self._files:
            raise DatasetFormError("the form has no file")

    def _begin_part(self) -> None:
        self._name, self._text = "", bytearray()

    def _begin_header(self) -> None:
        self._header = self._value = b""

    def _name_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _fill_header(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() != b"content-disposition":
            return
        _, options = parse_options_header(self._value)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._text = None if b"filename" in options else bytearray()
        if self._text is None:
            self._files += 1
            if self._files > 1:
                raise DatasetFormError("the form has more than one file")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._text is None:
            self._file.write(data[start:end])
            self._beside -= end - start
        elif len(self._text) + end - start > _FIELD:
            raise DatasetFormError(f"a field of the form is longer than {_FIELD} bytes")
        else:
            self._text += data[start:end]

    def _end_part(self) -> None:
        if self._text is not None:
            self.fields[self._name] = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


def _broken(error: FormParserError) -> DatasetFormError:
    return DatasetFormError(f"this is no form of a browser: {error}")
