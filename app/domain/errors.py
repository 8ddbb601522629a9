"""Every error a client can meet, each with a stable code.

```
SecateurError
+-- UserError        the request, the model or the data is at fault; the same call fails again
+-- SystemFaultError the service is at fault; a retry may succeed
```
"""

from typing import ClassVar


class SecateurError(Exception):
    """Base of all errors that reach a client. `str(error)` says what happened and what to do."""

    code: ClassVar[str] = "internal"
    retry_after: ClassVar[int | None] = None  # seconds; None where waiting does not help


class UserError(SecateurError):
    """The request, the model or the data is at fault."""


class SystemFaultError(SecateurError):
    """The service is at fault; trying again may succeed."""


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


class EvaluationDataError(UserError):
    """The evaluation set cannot be given to this model."""

    code = "evaluation_data_invalid"


class EvaluationOverlapError(UserError):
    """A record serves calibration and evaluation: the figures would be flattered."""

    code = "evaluation_data_overlaps"


class MetricNotApplicableError(UserError):
    """A metric was asked for that this model, or these records, do not allow."""

    code = "metric_not_applicable"


class QualityGateError(UserError):
    """The pruned model is worse than the quality gate allows."""

    code = "quality_gate_failed"


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


class JobNotFoundError(UserError):
    """No job has that id."""

    code = "job_not_found"


class JobFinishedError(UserError):
    """The job has ended; what was asked is no longer possible."""

    code = "job_already_finished"


class ArtifactNotFoundError(UserError):
    """The job has no published file of that path."""

    code = "artifact_not_found"


class ArtifactNotPackableError(UserError):
    """Only safetensors files have a packed form."""

    code = "artifact_not_packable"


class ArtifactPathError(UserError):
    """An artifact path is absolute, leaves its directory, or is no path."""

    code = "artifact_path_invalid"


class KeyMissingError(UserError):
    """The request carries no API key."""

    code = "api_key_missing"


class KeyInvalidError(UserError):
    """The API key is unknown."""

    code = "api_key_invalid"


class ModelSourceError(UserError):
    """The model reference is neither a path nor a hub id."""

    code = "model_source_invalid"


class BodyTooLargeError(UserError):
    """The request body is larger than the service accepts."""

    code = "body_too_large"


class BodyTooSlowError(UserError):
    """The request body came too slowly; the connection is closed."""

    code = "body_too_slow"


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


class OutOfMemoryError(SystemFaultError):
    """Memory does not suffice for one record at a time; the message has figures."""

    code = "out_of_memory"


class RepositoryNotFoundError(UserError):
    """No finished job stands behind this repository name."""

    code = "repository_not_found"


class RevisionNotFoundError(UserError):
    """The repository has no such branch, version or commit."""

    code = "revision_not_found"


class StorageUnavailableError(SystemFaultError):
    """The store of artifacts is away, refuses the service, or has lost something."""

    code = "storage_failed"


class ArtifactExpiredError(UserError):
    """The job's files were removed after the time that files are kept."""

    code = "artifacts_expired"


class JobInUseError(UserError):
    """Something else needs the job's files."""

    code = "job_in_use"


class DestinationUnknownError(UserError):
    """The installation has no destination of that name."""

    code = "destination_unknown"


class PublicationNotFoundError(UserError):
    """The job has no publication of that id."""

    code = "publication_not_found"


class PublishingError(SystemFaultError):
    """A destination did not take the files."""

    code = "publishing_failed"


class ModelVersionNotFoundError(UserError):
    """The project has no model of that name, or the model no such version."""

    code = "model_version_not_found"


class ResultNotReadyError(UserError):
    """The job has not ended yet."""

    code = "result_not_ready"
    retry_after = 5


class JobNotFinishedError(UserError):
    """The job has to end first."""

    code = "job_not_finished"


class JobNotRetryableError(UserError):
    """Only failed and cancelled jobs can be retried."""

    code = "job_not_retryable"


class PreconditionError(UserError):
    """The resource is not in the state that If-Match names."""

    code = "precondition_failed"


class IdempotencyMismatchError(UserError):
    """The Idempotency-Key was used with another payload."""

    code = "idempotency_key_reused"


class IdempotencyInFlightError(UserError):
    """The first request with this Idempotency-Key has not been answered yet."""

    code = "idempotency_key_in_flight"
    retry_after = 1


class ScopeError(UserError):
    """The API key's scope does not cover this."""

    code = "scope_missing"


class SweepNotFoundError(UserError):
    """The project has no sweep of that id."""

    code = "sweep_not_found"


class SweepFinishedError(UserError):
    """The sweep has ended; what was asked is no longer possible."""

    code = "sweep_already_finished"


class SweepNotFinishedError(UserError):
    """Every job of the sweep has to end first."""

    code = "sweep_not_finished"


class ApiKeyNotFoundError(UserError):
    """The project has no API key of that id."""

    code = "api_key_not_found"


class ProjectNotFoundError(UserError):
    """No project has that id."""

    code = "project_not_found"


class ProjectExistsError(UserError):
    """Another project has that name."""

    code = "project_exists"


class QueueQuotaError(UserError):
    """The project has as many queued jobs as it may have."""

    code = "quota_queued_jobs"
    retry_after = 30


class ArtifactQuotaError(UserError):
    """The project's artifacts take up all the room it may use."""

    code = "quota_artifact_bytes"


class RateLimitError(UserError):
    """The project sent more requests than it may."""

    code = "rate_limited"


class UnknownWorkerClassError(UserError):
    """No worker of the class asked for has ever started."""

    code = "worker_class_unknown"


class WorkerClassNotFoundError(UserError):
    """There is no worker class of that name."""

    code = "worker_class_not_found"


class NoWorkerError(UserError):
    """No worker has the device asked for."""

    code = "no_worker_for_device"


class JobTooLargeError(UserError):
    """The job needs more memory than any worker has that could take it."""

    code = "job_too_large"


class StorableTextError(UserError):
    """A text or number that cannot be stored: NUL, half of a surrogate pair, NaN, infinity."""

    code = "text_not_storable"


class WebhookAddressError(UserError):
    """The webhook's address is not one that can be sent to."""

    code = "webhook_address_refused"


class WebhookQuotaError(UserError):
    """The project has as many webhooks as it may have."""

    code = "quota_webhooks"


class WebhookNotFoundError(UserError):
    """The project has no webhook endpoint of that id."""

    code = "webhook_not_found"


class DeliveryNotFoundError(UserError):
    """The webhook endpoint has no delivery of that id."""

    code = "webhook_delivery_not_found"
