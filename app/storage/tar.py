"""Files as one tar stream: nothing is kept in memory or on disk, and the size is known before."""

import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence

from app.domain.jobs import Artifact

_END = bytes(2 * tarfile.BLOCKSIZE)


def tar_size(files: Sequence[Artifact], folder: str) -> int:
    """Bytes of the stream that `tar_stream` makes of the same files."""
    heads = sum(len(_head(file, folder)) for file in files)
    return heads + sum(file.size + len(_padding(file)) for file in files) + len(_END)


def tar_stream(
    files: Iterable[Artifact], folder: str, read: Callable[[Artifact], Iterator[bytes]]
) -> Iterator[bytes]:
    """The archive, piece by piece; the same bytes every time.

    Args:
        files: what goes in, in this order.
        folder: what everything lies under in the archive.
        read: the content of a file, piece by piece.
    """
    for file in files:
        yield _head(file, folder)
        yield from read(file)
        yield _padding(file)
    yield _END


def _head(file: Artifact, folder: str) -> bytes:
    member = tarfile.TarInfo(f"{folder}/{file.path}")
    member.size = file.size
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(file: Artifact) -> bytes:
    return bytes(-file.size % tarfile.BLOCKSIZE)
