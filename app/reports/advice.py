"""What an error code stands for, and what to do about a job that did not succeed."""

from app.domain.jobs import FailureKind, Job, JobStatus
from app.errors import SecateurError

BY_CODE = {
    "internal": "Report it with the job's id: the worker's log has the details under that id.",
    "max_pending_exceeded": "No worker took the job in time. Look at `secateur workers list`, "
    "start a worker of its class, or allow more time (`max_pending_seconds`).",
    "device_failed": "Have the operator look at the GPU, then try again.",
    "max_runtime_exceeded": "Allow more time (`max_runtime_seconds`), or ask `secateur plan` what "
    "takes how long.",
    "out_of_memory": "Use a worker with more memory, a smaller `calibration.batch_size` or fewer "
    "`calibration.samples`. `secateur plan` tells what a job takes.",
    "quality_gate_failed": "Ask for less sparsity or another method, or allow a larger drop. The "
    "result has the figures.",
    "storage_failed": "Have the operator look at the disk or the object store, then try again.",
    "worker_lost": "Its workers ended without a word. Lack of memory is the usual reason: compare "
    "`memory_bytes` of the plan with what the workers have, then try again.",
}


def meaning(code: str) -> str | None:
    """What an error code stands for; None for one without a class of its own."""
    kinds = [SecateurError]
    while kinds:
        kind = kinds.pop()
        if kind.code == code and kind is not SecateurError and kind.__doc__:
            return kind.__doc__.strip().splitlines()[0]
        kinds += kind.__subclasses__()
    return None


def advice(job: Job) -> list[str]:
    """Sentences for whoever submitted the job; none while it runs or where it succeeded."""
    if job.status is JobStatus.CANCELLED:
        return [f"Submit it again with `secateur retry {job.id}`."]
    if job.error is None:
        return []
    told = [BY_CODE[job.error.code]] if job.error.code in BY_CODE else []
    if job.error.kind is FailureKind.USER:
        told.append(
            "The same request would fail again. Correct what the message names and submit it anew: "
            f"`secateur clone {job.id} --set name=value` changes a field of the request."
        )
    else:
        told.append(
            f"The service is at fault. Submit the job again with `secateur retry {job.id}`; where "
            "that fails too, tell the operator its id."
        )
    return told
