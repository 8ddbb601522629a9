"""What artifacts cost: packing beside a plain copy, and downloads beside a bare sendfile server.

    make bench-artifacts

Packing is measured in CPU seconds of one thread, downloads in wall-clock seconds over loopback with
curl as the client. The sendfile server stands in for nginx: it sends the same file by the system
call that nginx uses, and does nothing else.
"""

import hashlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch
import uvicorn
from fastapi import FastAPI
from safetensors.torch import save_file

from app.api.files import PublishedFile
from app.packed.unpack import CHUNK, unpack
from workers.pipeline.packing import pack, write_packed

MEGABYTES = int(sys.argv[1]) if len(sys.argv) > 1 else 256
ROUNDS = 5
ITEM = 2  # bytes of a bfloat16


def main() -> None:
    torch.set_num_threads(1)
    directory = Path(tempfile.mkdtemp(prefix="secateur-bench-"))
    try:
        source = directory / "model.safetensors"
        weights = torch.randn(
            MEGABYTES * 1_000_000 // ITEM, generator=torch.Generator().manual_seed(0)
        )
        weights *= 0.02
        weights[weights.abs() < weights[:100_000].abs().median()] = 0
        save_file({"w": weights.bfloat16()}, source)
        del weights
        packing(source)
        downloads(source)
    finally:
        shutil.rmtree(directory)


def packing(source: Path) -> None:
    size = source.stat().st_size
    raw, packed, target = (source.with_name(name) for name in ("raw", "packed", "target"))

    def copy() -> None:
        with source.open("rb") as reader, target.open("wb") as writer:
            while piece := reader.read(CHUNK * ITEM):
                writer.write(piece)

    def through(step: Callable[..., object], given: Path, made: Path) -> Callable[[], None]:
        def run() -> None:
            with given.open("rb") as reader, made.open("wb") as writer:
                step(reader, writer)

        return run

    print(f"packing {size / 1e6:.0f} MB of bfloat16, half of it zero; median of {ROUNDS}")
    plain = cpu_seconds(copy)
    print(f"  plain copy            {size / plain / 1e6:7.0f} MB/s")
    for name, step, given, made in (
        ("mask and values", write_packed, source, raw),
        ("  the same with zstd", pack, source, packed),
        ("unpack", unpack, packed, target),
    ):
        seconds = cpu_seconds(through(step, given, made))
        print(
            f"  {name:<20}  {size / seconds / 1e6:7.0f} MB/s   {plain / seconds:.2f} x plain copy"
        )
    assert digest(target) == digest(source)
    for name, file in (("mask and values", raw), ("with zstd", packed)):
        print(f"  size, {name:<15} {file.stat().st_size / size:.4f} of dense")
    print(f"  bound (1 + 16 x 0.5) / 16      {(1 + 16 * 0.5) / 16:.4f}")


def downloads(source: Path) -> None:
    size = source.stat().st_size
    with Api(source) as api, Sendfile(source) as sendfile:
        got = {name: [] for name in ("secateur", "sendfile")}
        for _ in range(ROUNDS):
            got["secateur"].append(seconds_to_download(api))
            got["sendfile"].append(seconds_to_download(sendfile))
    speeds = {name: size / statistics.median(seconds) / 1e6 for name, seconds in got.items()}
    print(f"download of {size / 1e6:.0f} MB over loopback, one connection; median of {ROUNDS}")
    for name, speed in speeds.items():
        print(f"  {name:<20}  {speed:7.0f} MB/s")
    print(f"  ratio                 {speeds['secateur'] / speeds['sendfile']:.2f}")


def cpu_seconds(step: Callable[[], None]) -> float:
    took = []
    for _ in range(ROUNDS):
        start = time.process_time()
        step()
        took.append(time.process_time() - start)
    return statistics.median(took)


def seconds_to_download(url: str) -> float:
    command = [
        "curl",
        "--silent",
        "--fail",
        "--output",
        "/dev/null",
        "--write-out",
        "%{time_total}",
    ]
    done = subprocess.run([*command, url], check=True, capture_output=True, text=True)
    return float(done.stdout)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Api(AbstractContextManager[str]):
    """The answer of the artifact endpoints under uvicorn, without database and key."""

    def __init__(self, file: Path) -> None:
        app = FastAPI()
        app.get("/")(lambda: PublishedFile(file))
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.socket]})

    def __enter__(self) -> str:
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/"

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join()


class Sendfile(AbstractContextManager[str]):
    """A server of one file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.socket = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> str:
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}/"

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def _serve(self) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {self.file.stat().st_size}\r\n"
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            with client, self.file.open("rb") as content:
                client.recv(65536)
                client.sendall(f"{head}Connection: close\r\n\r\n".encode())
                client.sendfile(content)


if __name__ == "__main__":
    main()
