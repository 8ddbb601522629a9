"""Packing and unpacking beside a plain copy: CPU seconds of one thread, sizes beside the bound."""

import hashlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from app.packed.pack import compress, pack
from app.packed.unpack import CHUNK, unpack

ROUNDS = 7
BITS = 16  # of an element


def figures(source: Path) -> dict[str, Any]:
    size = source.stat().st_size
    packed, target = source.with_name("packed"), source.with_name("target")

    def copy() -> None:
        with source.open("rb") as reader, target.open("wb") as writer:
            while piece := reader.read(CHUNK * BITS // 8):
                writer.write(piece)

    def write_packed() -> None:
        with source.open("rb") as reader, packed.open("wb") as writer:
            writer.writelines(pack(reader))

    def write_compressed() -> None:
        with source.open("rb") as reader, target.open("wb") as writer:
            writer.writelines(compress(pack(reader)))

    def write_unpacked() -> None:
        with packed.open("rb") as reader, target.open("wb") as writer:
            unpack(reader, writer)

    rounds = []
    for _ in range(ROUNDS):
        steps = (copy, target), (write_compressed, target), (write_packed, packed)
        rounds.append([cpu_seconds(*step) for step in (*steps, (write_unpacked, target))])
    plain, compressing, packing, unpacking = map(statistics.median, zip(*rounds, strict=True))
    print(f"packing {size / 1e6:.0f} MB of bfloat16, half of it zero; median of {ROUNDS}")
    for name, took in (
        ("plain copy", plain),
        ("mask and values", packing),
        ("the same with zstd", compressing),
        ("unpack", unpacking),
    ):
        print(f"  {name:<20} {size / took / 1e6:7.0f} MB/s   {plain / took:.2f} x plain copy")
    same = digest(target) == digest(source)
    nonzeros: list[int] = []
    with source.open("rb") as reader:
        count = lambda values: nonzeros.append(int(np.count_nonzero(values)))  # noqa: E731
        compressed = sum(map(len, compress(pack(reader, look=count))))
    bound = (1 + BITS * sum(nonzeros) / (size * 8 / BITS)) / BITS
    dense, weight = size, packed.stat().st_size
    print(f"  size {weight / dense:.4f} of dense, {compressed / dense:.4f} with zstd")
    ratio, over = plain / packing, weight / dense / bound
    return {
        "packing_speed_over_copy": {"value": round(ratio, 3), "target": 0.5, "ok": ratio >= 0.5},
        "packed_size_over_bound": {"value": round(over, 4), "target": 1.03, "ok": over <= 1.03},
        "unpacked_is_bit_identical": {"value": same, "target": True, "ok": same},
    }


def cpu_seconds(step: Callable[[], None], made: Path) -> float:
    made.unlink(missing_ok=True)
    start = time.process_time()
    step()
    return time.process_time() - start


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
