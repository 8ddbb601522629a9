"""Data sets to calibrate or to evaluate on."""

from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

from secateur_client import records
from secateur_client._async.http import AsyncHttp, address
from secateur_client.calls import in_thread
from secateur_client.models import DatasetOut

Source = str | Path | Iterable[Mapping[str, Any]]


class AsyncDatasets:
    """The project's uploaded data sets."""

    def __init__(self, http: AsyncHttp) -> None:
        self._http = http

    async def upload(self, source: Source) -> DatasetOut:
        """Upload records; the same records have the same id.

        Args:
            source: path of JSON lines or of a zip archive with images, or the records themselves,
                whose `image` is a path or a picture of Pillow.
        """
        if isinstance(source, str | Path):
            path = Path(source)
            with path.open("rb") as file:
                kind = records.media_type(file.read(2))
            made: DatasetOut = await self._http.ask(
                "POST",
                address("datasets"),
                content=lambda: _chunks(path),
                headers={"Content-Type": kind, "Content-Length": str(path.stat().st_size)},
            )
            return made
        packed = await in_thread(records.pack, source)
        found: DatasetOut = await self._http.ask(
            "POST",
            address("datasets"),
            content=lambda: packed,
            headers={"Content-Type": records.media_type(packed)},
        )
        return found

    async def get(self, dataset_id: str) -> DatasetOut:
        """Look at one."""
        found: DatasetOut = await self._http.ask("GET", address("datasets", dataset_id))
        return found

    async def list(self) -> AsyncIterator[DatasetOut]:
        """All of them, by id."""
        async for each in pages(self._http, "datasets", {}):
            yield each

    async def delete(self, dataset_id: str) -> None:
        """Remove one; jobs that name it already still run."""
        await self._http.ask("DELETE", address("datasets", dataset_id))

    async def named(self, given: Any) -> Any:
        """What a request says of a data set: options as they are, a name, or the id of an upload.

        Args:
            given: None, options (a mapping), a name, or what `upload` takes.

        Raises:
            SecateurError: it is called like a file, and there is none.
        """
        if given is None or isinstance(given, Mapping):
            return given
        if isinstance(given, str) and not Path(given).is_file():
            records.refuse_missing_file(given)
            return {"set": given}
        return {"set": (await self.upload(given))["id"]}


async def pages(http: AsyncHttp, noun: str, only: Mapping[str, Any]) -> AsyncIterator[Any]:
    """Everything of a list, page by page."""
    cursor = None
    while True:
        asked = dict(only) if cursor is None else {**only, "cursor": cursor}
        page = await http.ask("GET", address(noun), params=asked)
        for each in page[noun]:
            yield each
        if (cursor := page["next_cursor"]) is None:
            return


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    for piece in records.chunks(path):
        yield piece
