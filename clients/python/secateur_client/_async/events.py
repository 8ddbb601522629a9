"""The log of a job or a sweep as it grows: server-sent events, resumed where they were cut."""

import json
from collections.abc import AsyncIterator

import httpx2

from secateur_client._async.http import AsyncHttp
from secateur_client.errors import UnreachableError
from secateur_client.models import EventOut

_NO_MORE = 204


async def follow(http: AsyncHttp, path: str, after: int) -> AsyncIterator[EventOut]:
    """Every event behind the id `after`, until the one that ends the log."""
    failed = 0
    while True:
        told = {"params": {"after": after}, "headers": {"Accept": "text/event-stream"}}
        try:
            async with http.stream(path, **told) as response:
                if response.status_code == _NO_MORE:
                    return
                async for message in httpx2.EventSource(response):
                    if message.data:
                        event: EventOut = json.loads(message.data)
                        after, failed = event["id"], 0
                        yield event
        except UnreachableError as error:
            failed += 1
            await http.pause(failed, error)
