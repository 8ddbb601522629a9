"""Puts a data set into a store as an upload does, without a database."""

from dataclasses import asdict

from app.uploads.ingest import ingest


def store_upload(store, file, limits):
    """What the stored set holds."""
    with store.incoming() as directory:
        content = directory / "content"
        content.mkdir()
        found = ingest(file, content, limits)
        store.add(found.id, content, asdict(found))
    return found
