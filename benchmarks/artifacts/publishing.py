"""Memory of publishing a file: hashing, describing and moving it, or uploading it to S3."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from app.local.process import running
from app.storage.store import open_store
from tests.seaweedfs import ACCESS, SECRET, Weed
from workers.pipeline.export import close_run, hash_files

SMALL, LARGE = 200_000_000, 2_000_000_000  # bytes
# What may come on top for a file ten times as large: buffers that grow to their full number.
MARGIN = 64 << 20


def figures(directory: Path) -> dict[str, Any]:
    found = {"publish_2_gb_locally": growth(directory / "local", "", "")}
    with (
        tempfile.TemporaryDirectory(prefix="secateur-weed-") as name,
        running(Weed(Path(name), volume_megabytes=1000)) as weed,
    ):
        found["publish_2_gb_to_s3"] = growth(directory / "s3", weed.bucket_url, weed.url)
    figures = {}
    for name, bytes_more in found.items():
        print(f"{name}: {bytes_more / 1e6:.1f} MB more memory than 200 MB take")
        megabytes, target = round(bytes_more / 1e6, 1), round(MARGIN / 1e6, 1)
        ok = bytes_more <= MARGIN
        figures[f"{name}_extra_memory_mb"] = {"value": megabytes, "target": target, "ok": ok}
    return figures


def growth(directory: Path, url: str, endpoint: str) -> int:
    """How many bytes of memory the large file takes more than the small one."""
    peaks = []
    for size in (SMALL, LARGE):
        command = [sys.executable, "-m", __spec__.name, str(directory), str(size), url, endpoint]
        account = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
        environment = os.environ | account | {"AWS_REGION": "us-east-1"}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        peaks.append(json.loads(done.stdout))
    return peaks[1] - peaks[0]


def publish(directory: Path, size: int, url: str, endpoint: str) -> int:
    """Publish a file of that size; returns the peak of this process's memory in bytes."""
    store = open_store(directory, url, endpoint)
    staging = store.stage(f"job_{size}", 1)
    with (staging / "model.safetensors").open("wb") as file:
        file.truncate(size)
    close_run(staging, hash_files(staging), {})
    store.publish(f"job_{size}", 1)
    store.discard(f"job_{size}", 1)
    # Not ru_maxrss, which a child inherits from its parent.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    where, size, url, endpoint = sys.argv[1:]
    print(publish(Path(where), int(size), url, endpoint))
