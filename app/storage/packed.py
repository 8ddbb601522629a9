"""Published files in their packed form, made while they are sent."""

from collections.abc import Iterator

from app.domain.jobs import Artifact
from app.packed.pack import compress, pack
from app.storage.store import ArtifactStore


def packed_stream(
    store: ArtifactStore, artifact: Artifact, start: int, *, compressed: bool
) -> Iterator[bytes | memoryview]:
    """The packed form of a safetensors file, piece by piece.

    Args:
        store: where it is.
        artifact: which file.
        start: how many bytes of the file the client has.
        compressed: by zstd on top.
    """
    with store.open(artifact) as source:
        pieces = pack(source, start)
        yield from compress(pieces) if compressed else pieces
