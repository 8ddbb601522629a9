"""Downloads over loopback with curl, beside nginx serving the same file, in turns."""

import hashlib
import statistics
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.artifacts.servers import Api, peer

ROUNDS = 9
PARTS = 8


def figures(source: Path) -> dict[str, Any]:
    size = source.stat().st_size
    other = peer(source)
    took: dict[str, list[float]] = {"secateur": [], other.name: []}
    with Api(source) as api, other as address:
        for _ in range(ROUNDS):
            took["secateur"].append(seconds_to_download(api))
            took[other.name].append(seconds_to_download(address))
        whole = eight_ranges(api, size) == hashlib.sha256(source.read_bytes()).hexdigest()
    print(f"download of {size / 1e6:.0f} MB over loopback, one connection; median of {ROUNDS}")
    for name, seconds in took.items():
        print(f"  {name:<20} {size / statistics.median(seconds) / 1e6:7.0f} MB/s")
    ratio = statistics.median(took[other.name]) / statistics.median(took["secateur"])
    speed = {"value": round(ratio, 3), "target": 0.5, "ok": ratio >= 0.5, "peer": other.name}
    return {
        "download_speed_over_peer": speed,
        "eight_ranges_make_the_file": {"value": whole, "target": True, "ok": whole},
    }


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


def eight_ranges(url: str, size: int) -> str:
    """SHA-256 of what eight downloads at once bring."""
    step = size // PARTS + 1

    def part(start: int) -> bytes:
        wanted = f"{start}-{min(start + step, size) - 1}"
        command = ["curl", "--silent", "--fail", "--range", wanted, url]
        return subprocess.run(command, check=True, capture_output=True).stdout

    with ThreadPoolExecutor(PARTS) as threads:
        parts = threads.map(part, range(0, size, step))
        return hashlib.sha256(b"".join(parts)).hexdigest()
