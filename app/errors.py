"""Every error a client can meet, each with a stable code; those of one noun stand with the noun.

```
SecateurError          internal: the service has a bug
+-- UserError          invalid request: the same call fails again
|   +-- NotFoundError  there is no such thing
|   +-- ConflictError  the thing is in a state that does not allow it
|   +-- AccessError    the caller may not do this
|   +-- LimitError     more than the caller may have
+-- SystemFaultError   unavailable: the service is at fault; a retry may succeed
```
"""

from http import HTTPStatus
from typing import ClassVar


class SecateurError(Exception):
    """Base of all errors that reach a client. `str(error)` says what happened and what to do."""

    code: ClassVar[str] = "internal"
    status: ClassVar[HTTPStatus] = HTTPStatus.UNPROCESSABLE_ENTITY
    retry_after: ClassVar[int | None] = None  # seconds; None where waiting does not help
    challenge: ClassVar[str | None] = None  # how to identify oneself, or what was wrong with that


class UserError(SecateurError):
    """The request, the model or the data is at fault."""


class NotFoundError(UserError):
    """There is no such thing, or not any more."""

    status = HTTPStatus.NOT_FOUND


class ConflictError(UserError):
    """The thing is in a state that does not allow what was asked."""

    status = HTTPStatus.CONFLICT


class AccessError(UserError):
    """The caller may not do this."""

    status = HTTPStatus.FORBIDDEN


class LimitError(UserError):
    """The caller asks for more than it may have."""

    status = HTTPStatus.TOO_MANY_REQUESTS


class SystemFaultError(SecateurError):
    """The service is at fault; trying again may succeed."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class UnsupportedArchitectureError(UserError):
    """The checkpoint's architecture is unknown to transformers or needs code of its own."""

    code = "unsupported_architecture"


class ModelLoadError(UserError):
    """The checkpoint does not load: missing tensors, broken files, wrong shapes."""

    code = "model_load_failed"


class CalibrationDataError(UserError):
    """The calibration set cannot feed this model."""

    code = "calibration_data_invalid"


class ModelRunError(UserError):
    """The model's own code fails on the records; the message has its words."""

    code = "model_run_failed"


class RecipeError(UserError):
    """The recipe cannot be carried out on this model."""

    code = "recipe_not_applicable"


class PatternUnmatchedError(RecipeError):
    """A pattern of `targets` or `ignore` matches nothing in this model."""

    code = "pattern_matches_nothing"


class AllocationScoreError(UserError):
    """A score that decides how much of a matrix goes is missing, zero, negative or not finite."""

    code = "allocation_score_invalid"


class NonFiniteError(UserError):
    """A weight, an activation statistic or a score is NaN or infinite; the message names it."""

    code = "non_finite_values"


class UnknownMethodError(UserError):
    """No pruning method has that name."""

    code = "unknown_method"


class MethodParameterError(UserError):
    """A method parameter is unknown or out of range."""

    code = "method_parameter_invalid"


class JobNotFoundError(NotFoundError):
    """No job has that id."""

    code = "job_not_found"


class JobFinishedError(ConflictError):
    """The job has ended; what was asked is no longer possible."""

    code = "job_already_finished"


class ArtifactNotFoundError(NotFoundError):
    """The job has no published file of that path."""

    code = "artifact_not_found"


class ArtifactNotPackableError(UserError):
    """Only safetensors files have a packed form."""

    code = "artifact_not_packable"


class ArtifactPathError(UserError):
    """An artifact path is absolute, leaves its directory, or is no path."""

    code = "artifact_path_invalid"
    status = HTTPStatus.BAD_REQUEST


class ModelSourceError(UserError):
    """The model reference is neither a path nor a hub id."""

    code = "model_source_invalid"


class BodyTooLargeError(LimitError):
    """The request body is larger than the service accepts."""

    code = "body_too_large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class BodyTooSlowError(LimitError):
    """The request body came too slowly; the connection is closed."""

    code = "body_too_slow"
    status = HTTPStatus.REQUEST_TIMEOUT


class DatabaseUnavailableError(SystemFaultError):
    """The database cannot be reached; nothing was changed."""

    code = "database_unavailable"
    retry_after = 2


class ModelPathError(UserError):
    """A model path leads outside the directories that models may come from."""

    code = "model_path_not_allowed"


class ModelNotFoundError(UserError):
    """There is no such model directory or hub repository."""

    code = "model_not_found"


class UnsafeWeightsError(UserError):
    """The checkpoint has pickled weights only."""

    code = "model_weights_unsafe"


class ModelFilesError(UserError):
    """The model directory has no config.json or no safetensors file."""

    code = "model_files_missing"


class ModelGatedError(UserError):
    """The hub gives this repository only to accounts that have accepted its terms."""

    code = "model_gated"


class ModelRevisionError(UserError):
    """The hub repository has no such branch, tag or commit."""

    code = "model_revision_not_found"


class HubUnavailableError(SystemFaultError):
    """The model hub cannot be reached or is out of order."""

    code = "hub_unavailable"


class VerificationError(SystemFaultError):
    """The exported files do not hold what was asked for."""

    code = "verification_failed"


class SigningError(SystemFaultError):
    """The result cannot be signed with the key that is set."""

    code = "signing_failed"


class OutOfMemoryError(SystemFaultError):
    """Memory does not suffice for one record at a time; the message has figures."""

    code = "out_of_memory"


class RepositoryNotFoundError(NotFoundError):
    """No finished job stands behind this repository name."""

    code = "repository_not_found"


class RevisionNotFoundError(NotFoundError):
    """The repository has no such branch, version or commit."""

    code = "revision_not_found"


class StorageUnavailableError(SystemFaultError):
    """The store of artifacts is away, refuses the service, or has lost something."""

    code = "storage_failed"


class ArtifactExpiredError(NotFoundError):
    """The job's files were removed after the time that files are kept."""

    code = "artifacts_expired"
    status = HTTPStatus.GONE


class JobInUseError(ConflictError):
    """Something else needs the job's files."""

    code = "job_in_use"


class ModelVersionNotFoundError(NotFoundError):
    """The project has no model of that name, or the model no such version."""

    code = "model_version_not_found"


class ResultNotReadyError(NotFoundError):
    """The job has not ended yet."""

    code = "result_not_ready"
    retry_after = 5


class JobNotFinishedError(ConflictError):
    """The job has to end first."""

    code = "job_not_finished"


class JobNotRetryableError(ConflictError):
    """Only failed and cancelled jobs can be retried."""

    code = "job_not_retryable"


class PreconditionError(ConflictError):
    """The resource is not in the state that If-Match names."""

    code = "precondition_failed"
    status = HTTPStatus.PRECONDITION_FAILED


class IdempotencyMismatchError(UserError):
    """The Idempotency-Key was used with another payload."""

    code = "idempotency_key_reused"


class IdempotencyInFlightError(ConflictError):
    """The first request with this Idempotency-Key has not been answered yet."""

    code = "idempotency_key_in_flight"
    retry_after = 1


class StorableTextError(UserError):
    """A text or number that cannot be stored: NUL, half of a surrogate pair, NaN, infinity."""

    code = "text_not_storable"
