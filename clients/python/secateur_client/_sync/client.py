"""The service: ask for jobs, plans and sweeps, and find them again."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from secateur_client._sync.datasets import Datasets, pages
from secateur_client._sync.http import Http, address
from secateur_client._sync.job import Job
from secateur_client._sync.sweep import Sweep
from secateur_client.models import Estimate, JobOptions, MethodOut, PlanOut, SweepOptions


class Jobs:
    """The project's jobs."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def get(self, job_id: str) -> Job:
        """Look at one."""
        return Job(self._http, self._http.ask("GET", address("jobs", job_id)))

    def list(self, **only: Any) -> Iterator[Job]:
        """All of them, newest first.

        Args:
            only: filters of `GET /v1/jobs`, such as `status` or `method`.
        """
        for each in pages(self._http, "jobs", only):
            yield Job(self._http, each)


class Client:
    """One service, one key; close it, or use it in a `with` statement.

    Attributes:
        jobs: those of the project.
        datasets: those of the project.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 60,
        retries: int = 5,
    ) -> None:
        """Nothing is sent yet.

        Args:
            url: by default SECATEUR_URL, then the address of `secateur up` on this machine.
            key: by default SECATEUR_KEY, then, for the service of `secateur up` alone, the file
                `key` of SECATEUR_DATA_DIR.
            timeout: seconds until the service is taken for silent.
            retries: how often a request is sent again after a fault that may pass.
        """
        self._http = Http(url, key, timeout=timeout, retries=retries)
        self.jobs = Jobs(self._http)
        self.datasets = Datasets(self._http)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def prune(
        self,
        model: str,
        *,
        calibration: Any = None,
        evaluation: Any = None,
        idempotency_key: str | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Queue a pruning job.

        Args:
            model: `hf:organisation/name@revision`, or a path under a root of the service.
            calibration: name or id of a data set, a file or records to upload, or the options of
                the request's field; by default a built-in set that the model takes.
            evaluation: the same, to measure on before and after.
            idempotency_key: the same key makes the same job, once; by default a new one.
            options: the other fields of the request: `method`, `sparsity` (a share, one for each
                modality, or "auto"), `pattern`, `recipe`, ...

        Raises:
            RefusedError: the request is wrong, or too much for the project.
        """
        request = self._request(model, calibration, evaluation, options)
        made = self._http.create(address("jobs"), request, idempotency_key)
        return Job(self._http, made)

    def plan(
        self,
        model: str,
        *,
        calibration: Any = None,
        evaluation: Any = None,
        **options: Unpack[JobOptions],
    ) -> PlanOut:
        """What `prune` would do with the same arguments; refused whenever that would be."""
        request = self._request(model, calibration, evaluation, options)
        found: PlanOut = self._http.ask("POST", address("plans"), json=request)
        return found

    def sweep(
        self,
        model: str,
        *,
        methods: Sequence[Any] = (),
        calibration: Any = None,
        evaluation: Any = None,
        idempotency_key: str | None = None,
        **options: Unpack[SweepOptions],
    ) -> Sweep:
        """Queue a job for every combination of methods, sparsities and recipes.

        Args:
            model: as `prune` has it.
            methods: names, or `{"method", "parameters"}` each.
            calibration: as `prune` has it.
            evaluation: as `prune` has it.
            idempotency_key: as `prune` has it.
            options: the other fields of the request: `sparsities`, `recipes`, `objective`, ...
        """
        request = self._request(model, calibration, evaluation, options)
        if methods:
            request["methods"] = [
                {"method": each} if isinstance(each, str) else each for each in methods
            ]
        made = self._http.create(address("sweeps"), request, idempotency_key)
        return Sweep(self._http, made)

    def get_sweep(self, sweep_id: str) -> Sweep:
        """Look at a sweep."""
        return Sweep(self._http, self._http.ask("GET", address("sweeps", sweep_id)))

    def methods(self) -> list[MethodOut]:
        """The pruning methods, with their parameters."""
        found: list[MethodOut] = (self._http.ask("GET", address("methods")))["methods"]
        return found

    def local_models(self) -> list[str]:
        """The models on the service's own disks, as a request names them."""
        found = self._http.ask("GET", address("local-models"))
        return [each["name"] for each in found["models"]]

    def evaluate(
        self,
        model: str,
        evaluation: Any,
        *,
        timeout: float | None = None,
        **options: Unpack[JobOptions],
    ) -> dict[str, Estimate]:
        """Measure a model as it is, and return what was found by metric.

        A job by magnitude does it before it prunes a copy: it takes the time of two evaluations and
        room for the model's files once more, and is deleted when it has ended. The figures of a
        job's own result, dense and pruned, are its `result["evaluation"]`.

        Args:
            model: as `prune` has it.
            evaluation: as `prune` has it.
            timeout: seconds; None for any time.
            options: as `prune` has them, such as `device`.

        Raises:
            JobFailedError: it failed or was cancelled.
            TimeoutError: it has not ended in that time; the job is cancelled.
        """
        options = {**options, "method": "magnitude", "sparsity": 0.5}
        job = self.prune(model, evaluation=evaluation, **options)
        try:
            job.wait(timeout=timeout)
        except TimeoutError:
            job.cancel()
            raise
        report = (job.result or {}).get("evaluation")
        job.delete()
        return {name: each["before"] for name, each in report["metrics"].items()} if report else {}

    def _request(
        self, model: str, calibration: Any, evaluation: Any, options: Any
    ) -> dict[str, Any]:
        named = {
            "calibration": self.datasets.named(calibration),
            "evaluation": self.datasets.named(evaluation),
        }
        given = {name: value for name, value in named.items() if value is not None}
        return {"model": model, **options, **given}
