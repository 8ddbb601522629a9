"""The side that has a harness: `python -I driver.py TASK`, TASK in JSON.

This file imports nothing of the project: it runs in the harness's own environment. It says one
line of JSON on its standard output, and ends with its input, when its time is over, and whatever
it does: the time is kept by the system.

`do: offer` finds the tasks that load, those of the working directory and `names` of the harness's
own. `do: run` runs one task on a model. See `workers.pipeline.tasks.harness` for the other side.
"""

import json
import logging
import math
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = {"lm-eval": "lm_eval", "lmms-eval": "lmms_eval"}


def main(task: dict[str, Any]) -> None:
    """Do what the task says, and tell what came of it.

    Args:
        task: `do`, `harness`, `seconds` to live, `local` whether the working directory has tasks;
            `names` to offer beside those; or `task` to run, `limit` of its records, `batch_size`,
            `model` a directory, `kind` of model in the harness's words, `device`, `threads`,
            `memory` bytes to have.
    """
    say = _own_line()
    signal.alarm(int(task["seconds"]))  # its default is to end the process, also in native code
    threading.Thread(target=_end_with_input, daemon=True).start()
    warnings.simplefilter("ignore")
    try:
        say({"offer": _offer, "run": _run}[task["do"]](task))
    except Exception as error:
        say({"error": type(error).__name__, "out_of_memory": _out_of_memory(error)})
        raise


def _own_line() -> Callable[[dict[str, Any]], None]:
    """Standard output for what this process says alone; what libraries print goes to errors."""
    line = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda told: print(json.dumps(told), file=line)


def _end_with_input() -> None:
    while os.read(0, 1 << 10):
        pass
    with suppress(OSError):  # whoever wanted to know is gone; so goes all that was started here
        os.killpg(0, signal.SIGKILL)


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            return True
        if "DefaultCPUAllocator" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def _offer(task: dict[str, Any]) -> dict[str, Any]:
    """The names of tasks that load here, and why others do not."""
    local = _manager(task, defaults=False)
    found = dict.fromkeys(local.all_subtasks, local)
    if wanted := [name for name in task["names"] if name not in found]:
        found |= dict.fromkeys(wanted, _manager(task, defaults=True))
    offered, left_out = [], {}
    for name, manager in found.items():
        try:
            _load(task["harness"], name, manager)
        except Exception as error:  # noqa: BLE001  whatever a task's file or its data raise
            left_out[name] = f"{type(error).__name__}: {error}"[:200]
        else:
            offered.append(name)
    return {"tasks": offered, "left_out": left_out}


def _manager(task: dict[str, Any], *, defaults: bool) -> Any:
    here = [str(Path.cwd())] if task["local"] else []
    if task["harness"] == "lm-eval":
        from lm_eval.tasks import TaskManager  # noqa: PLC0415  one of two is installed
    else:
        from lmms_eval.tasks import TaskManager  # noqa: PLC0415  one of two is installed
    logging.disable(logging.CRITICAL)
    return TaskManager(include_path=here, include_defaults=defaults)


def _load(harness: str, name: str, manager: Any) -> None:
    """Have the task with its records.

    Raises:
        KeyError: it is unknown.
        Exception: its file is wrong, or its records are not there.
    """
    if name not in manager.all_subtasks:
        raise KeyError(name)
    if harness == "lm-eval":
        manager.load([name])
        return
    from lmms_eval.tasks import get_task_dict  # noqa: PLC0415  one of two is installed

    get_task_dict([name], manager)


def _run(task: dict[str, Any]) -> dict[str, Any]:
    """What the model comes to in the task."""
    import torch  # noqa: PLC0415  late, for the sake of `offer`

    _be_modest(task)
    torch.set_num_threads(task["threads"])
    harness, name = task["harness"], task["task"]
    manager = _manager(task, defaults=False)
    if name not in manager.all_subtasks:
        manager = _manager(task, defaults=True)
    common = {"tasks": [name], "limit": task["limit"], "task_manager": manager}
    common |= {"log_samples": False, "batch_size": task["batch_size"]}
    if harness == "lm-eval":
        from lm_eval.evaluator import simple_evaluate  # noqa: PLC0415  one of two is installed

        found = simple_evaluate(model=_text_model(task), **common)
    else:
        from lmms_eval.evaluator import (  # noqa: PLC0415  one of two is installed
            simple_evaluate as evaluate,
        )

        model, simple = _image_model(task)
        found = evaluate(model=model, force_simple=simple, **common)
    return {
        "harness_version": version(PACKAGES[harness]),
        "task_version": found["versions"].get(name),
        "samples": found["n-samples"][name]["effective"],
        "metrics": dict(_metrics(found, name)),
    }


def _be_modest(task: dict[str, Any]) -> None:
    """Where memory ends, end with it here and nowhere else."""
    with suppress(OSError):  # there is no such file outside of Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    if task["device"] == "cpu":  # drivers of GPUs reserve more than they ever use
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        memory = task["memory"]
        memory = memory if most == resource.RLIM_INFINITY else min(memory, most)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, most))


def _text_model(task: dict[str, Any]) -> Any:
    """The class that config.json names, where lm-eval itself would take one for texts alone."""
    import transformers  # noqa: PLC0415  late, for the sake of `offer`
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415  one of two is installed

    directory = task["model"]
    config = json.loads((Path(directory) / "config.json").read_text())
    model_class = getattr(transformers, config["architectures"][0])
    options = {"dtype": "auto", "use_safetensors": True, "local_files_only": True}
    model = model_class.from_pretrained(directory, **options).to(task["device"]).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory, local_files_only=True)
    return HFLM(
        pretrained=model, tokenizer=tokenizer, backend=task["kind"], batch_size=task["batch_size"]
    )


def _image_model(task: dict[str, Any]) -> tuple[Any, bool]:
    """The harness's own model, and whether it is asked in plain words for want of a template."""
    from lmms_eval import models  # noqa: PLC0415  one of two is installed
    from transformers import AutoProcessor  # noqa: PLC0415  late, for the sake of `offer`

    directory, device = task["model"], task["device"]
    load: Any = AutoProcessor.from_pretrained
    processor = load(directory, local_files_only=True)
    simple = getattr(processor, "chat_template", None) is None
    options = {} if task["kind"] == "instructblip" else {"device_map": device}
    model_class = models.get_model(task["kind"], simple)
    return model_class(pretrained=directory, device=device, batch_size=1, **options), simple


def _metrics(found: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    results, better = found["results"][name], found["higher_is_better"].get(name) or {}
    for key, value in results.items():
        metric, _, kept = key.partition(",")
        if not kept or metric.endswith(("_stderr", "_stderr_clt", "_stderr_clustered")):
            continue
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            continue
        label = metric if kept == "none" else f"{metric},{kept}"
        yield (
            label,
            {
                "value": _finite(value),
                "stderr": _finite(results.get(f"{metric}_stderr,{kept}")),
                "higher_is_better": better.get(metric),
            },
        )


def _finite(value: Any) -> float | None:
    if not hasattr(value, "__float__"):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
