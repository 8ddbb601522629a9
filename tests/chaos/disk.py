"""A small disk of its own for the service's files, where this account may mount one."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BYTES = 2 << 30
PIECES = (64 << 20, 1 << 20, 4096)


class Disk:
    """A tmpfs at `path`; without the right to mount, a directory and `mounted` is False."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.mounted = _mount("-t", "tmpfs", "-o", f"size={BYTES},mode=0755", "tmpfs", path)

    def close(self) -> None:
        """Take it away."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", self.path], check=True)

    @property
    def has_room(self) -> bool:
        """Whether a byte is free."""
        return shutil.disk_usage(self.path).free > 0

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is free in here."""
        filler = self.path / "filler"
        try:
            with filler.open("wb") as file:
                for piece in PIECES:
                    with suppress(OSError):  # until there is no room for one more
                        while True:
                            os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), piece)
            yield
        finally:
            filler.unlink(missing_ok=True)

    @contextmanager
    def read_only(self) -> Iterator[None]:
        """Nothing that is opened from now on can be written in here.

        A second mount covers the first, which files that are open for writing keep from changing.
        """
        assert _mount("--bind", self.path, self.path)
        try:
            assert _mount("-o", "remount,bind,ro", self.path)
            yield
        finally:
            subprocess.run(["umount", "--lazy", self.path], check=True)


def _mount(*arguments: str | Path) -> bool:
    done = subprocess.run(["mount", *arguments], capture_output=True, check=False)
    return done.returncode == 0
