"""What can be wrong with a data set, each with a stable code and, where it has one, a row."""

from http import HTTPStatus

from app.errors import NotFoundError, SystemFaultError, UserError


class DatasetError(UserError):
    """A data set cannot be accepted as a whole."""

    code = "dataset_invalid"


class DatasetTooLargeError(DatasetError):
    """The upload, or what it unpacks to, is larger than the service accepts."""

    code = "dataset_too_large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class DatasetFormError(DatasetError):
    """A form does not hold exactly one file, has a long field, or is cut off."""

    code = "dataset_form_invalid"


class DatasetArchiveError(DatasetError):
    """The archive is broken, encrypted, or not laid out as asked for."""

    code = "dataset_archive_invalid"


class DatasetPathError(DatasetError):
    """A path in the archive leaves it, or is a link."""

    code = "dataset_path_invalid"


class DatasetEmptyError(DatasetError):
    """There are no rows."""

    code = "dataset_empty"


class DatasetNotFoundError(NotFoundError):
    """No data set has that id."""

    code = "dataset_not_found"


class DatasetSourceError(UserError):
    """The hub has no such data set, configuration or split."""

    code = "dataset_source_invalid"


class DatasetsExtraError(UserError):
    """Data sets of the hub need a package that this installation lacks."""

    code = "datasets_extra_missing"


class DatasetCorruptError(SystemFaultError):
    """A stored data set is not what its id says."""

    code = "dataset_corrupt"


class DatasetRowError(DatasetError):
    """A row cannot be accepted: no JSON object, an unknown field, a field of the wrong kind."""

    code = "dataset_row_invalid"

    def __init__(self, row: int, message: str) -> None:
        """Name the row, counted from 1."""
        super().__init__(f"row {row}: {message}")
        self.row = row


class RowEmptyError(DatasetRowError):
    """A row has a label and nothing that it belongs to."""

    code = "dataset_row_empty"


class RowDuplicateError(DatasetRowError):
    """A row says what an earlier one says."""

    code = "dataset_row_duplicate"


class RowsMixedError(DatasetRowError):
    """A row has other fields than the first one."""

    code = "dataset_rows_mixed"


class ImageMissingError(DatasetRowError):
    """A row names an image that did not come along."""

    code = "dataset_image_missing"


class ImageInvalidError(DatasetRowError):
    """An image cannot be decoded."""

    code = "dataset_image_invalid"


class ImageTooLargeError(DatasetRowError):
    """An image has more pixels than the service decodes."""

    code = "dataset_image_too_large"
