"""The process that has one model: `python -m workers.pipeline.performance TASK`, TASK in JSON.

It loads the model as any user of the files would, runs it once, and says what it takes. Then it
runs it once for every line on its standard input, and says how long that took. It ends with its
input, when its time is over, and whatever it does: the time is kept by the system.
"""

import json
import os
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import torch
import transformers
from safetensors.torch import load_file
from transformers.generation.streamers import BaseStreamer

from workers.pruning.memory import out_of_memory
from workers.pruning.models.files import generate_plainly, plain_directory, read_json

Seconds: TypeAlias = dict[str, float]
_HOST = torch.device("cpu")


def main(task: dict[str, Any]) -> None:
    """Load, run, and run again whenever told to.

    Args:
        task: `directory` of the model, `inputs` a safetensors file, `answer` tokens to write,
            `device`, `threads`, `seconds` to live, `memory` bytes to have.
    """
    say = _own_line()
    signal.alarm(int(task["seconds"]))  # its default is to end the process, also in native code
    turns: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(turns,), daemon=True).start()
    device = torch.device(task["device"])
    _be_modest(device, task["memory"])
    torch.set_num_threads(task["threads"])
    try:
        model = _load(Path(task["directory"])).to(device).eval()
        run = _runner(model, _placed(task["inputs"], model), task["answer"])
        run()
        say({"seconds": {}, **_taken(model)})
        while turns.get():
            say({"seconds": run(), **_taken(model)})
    except Exception as error:
        say({"error": type(error).__name__, "out_of_memory": out_of_memory(error)})
        raise


def _own_line() -> Callable[[dict[str, Any]], None]:
    """Standard output for what this process says alone; what libraries print goes to errors."""
    line = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return lambda told: print(json.dumps(told), file=line)


def _listen(turns: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        turns.put(line)
    os._exit(0)  # whoever wanted to know is gone


def _be_modest(device: torch.device, memory: int) -> None:
    """Where memory ends, end with it here and nowhere else."""
    with suppress(OSError):  # there is no such file outside of Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    if device == _HOST:  # drivers of GPUs reserve more than they ever use
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        memory = memory if most == resource.RLIM_INFINITY else min(memory, most)
        resource.setrlimit(resource.RLIMIT_DATA, (memory, most))


def _load(directory: Path) -> Any:
    """The class that config.json names, its weights in the type they are stored in."""
    saved = read_json(directory, "config.json")
    model_class = getattr(transformers, saved["architectures"][0])
    stored = saved.get("dtype") or saved.get("torch_dtype")
    with plain_directory(directory) as plain:
        config = model_class.config_class.from_pretrained(plain, local_files_only=True)
    dtype = getattr(torch, stored) if isinstance(stored, str) else "auto"
    options = {"local_files_only": True, "use_safetensors": True}
    model = model_class.from_pretrained(directory, config=config, dtype=dtype, **options)
    generate_plainly(model, directory, ())
    return model


def _placed(file: str, model: Any) -> dict[str, torch.Tensor]:
    found = load_file(file, device=str(model.device))
    return {
        name: value.to(model.dtype) if value.is_floating_point() else value
        for name, value in found.items()
    }


def _runner(model: Any, inputs: dict[str, torch.Tensor], answer: int) -> Callable[[], Seconds]:
    """Runs the model once; returns seconds, by what took them."""

    def encode() -> Seconds:
        began = time.perf_counter()
        model(**inputs)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        return {"encode": time.perf_counter() - began}

    def write() -> Seconds:
        clock = _Clock()
        began = time.perf_counter()
        model.generate(**inputs, **options, streamer=clock)
        _, first, *more = clock.at
        found = {"prefill": first - began}
        return found | ({"decode": (more[-1] - first) / len(more)} if more else {})

    options = {"max_new_tokens": answer, "min_new_tokens": answer, "do_sample": False}
    options |= {"num_beams": 1}
    if answer and model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = 0
    return torch.no_grad()(write if answer else encode)


class _Clock(BaseStreamer):
    """Notes when a prompt goes in and each token is on the host."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def put(self, _tokens: torch.Tensor) -> None:
        self.at.append(time.perf_counter())

    def end(self) -> None: ...


def _taken(model: Any) -> dict[str, Any]:
    """Bytes of the weights in use, and the most that was taken so far."""
    tensors = [*model.parameters(), *model.buffers()]
    weights = sum(tensor.nbytes for tensor in tensors)
    return {"bytes": weights, "peak": _peak(model.device), "dtype": str(model.dtype).split(".")[1]}


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.exists():  # not ru_maxrss, which a child inherits from its parent
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
