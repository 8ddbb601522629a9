"""Python client of Secateur: prune models over HTTP, watch, download, load.

`Client` blocks; `AsyncClient` has the same methods, to be awaited. Answers are plain JSON; their
types are in `secateur_client.models`.
"""

from secateur_client._async.client import AsyncClient
from secateur_client._async.datasets import AsyncDatasets
from secateur_client._async.job import AsyncJob
from secateur_client._async.sweep import AsyncSweep
from secateur_client._sync.client import Client
from secateur_client._sync.datasets import Datasets
from secateur_client._sync.job import Job
from secateur_client._sync.sweep import Sweep
from secateur_client.errors import (
    DownloadError,
    JobFailedError,
    RefusedError,
    SecateurError,
    UnreachableError,
)

__all__ = [
    "AsyncClient",
    "AsyncDatasets",
    "AsyncJob",
    "AsyncSweep",
    "Client",
    "Datasets",
    "DownloadError",
    "Job",
    "JobFailedError",
    "RefusedError",
    "SecateurError",
    "Sweep",
    "UnreachableError",
]
