"""A process of a harness; see `driver` for its other side."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.recipes.tasks import Harness
from workers.pipeline.context import HarnessAccess
from workers.pipeline.line_process import LineProcess, environment

_DRIVER = Path(__file__).with_name("driver.py")
_ALWAYS = {
    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",  # HF_HOME may have the operator's login
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "0",
}
_OFFLINE = {
    "HF_DATASETS_OFFLINE": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}
_CACHES = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "XDG_CACHE_HOME")
_WAYS_OUT = (
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HF_ENDPOINT"),
)


def open_harness(
    access: HarnessAccess,
    harness: Harness,
    task: Mapping[str, Any],
    *,
    name: str,
    deadline: float,
    check: Callable[[], None],
) -> LineProcess:
    """The process that does the task, in the directory of the harness's local tasks if any.

    Args:
        access: what this worker has.
        harness: one that it has.
        task: as the driver wants it.
        name: for messages.
        deadline: when it must be done, by the monotonic clock.
        check: called while waiting.
    """
    folder = access.folder / harness
    return LineProcess(
        name,
        # -I: neither this process's modules nor those of the directory are its own.
        [str(access.interpreters[harness]), "-I", str(_DRIVER)],
        {**task, "harness": harness, "local": folder.is_dir()},
        deadline=deadline,
        check=check,
        environment=_visible(network=access.network),
        directory=folder if folder.is_dir() else _DRIVER.parent,
    )


def _visible(*, network: bool) -> dict[str, str]:
    names = (*_CACHES, *(_WAYS_OUT if network else ()))
    given = {name: os.environ[name] for name in names if name in os.environ}
    found = environment({**given, **_ALWAYS, **({} if network else _OFFLINE)})
    found.pop("PYTHONPATH", None)
    return found
