"""The log of a job or a sweep as it grows: server-sent events, resumed where they were cut."""

import json
from collections.abc import Iterator

import httpx2

from secateur_client._sync.http import Http
from secateur_client.errors import UnreachableError
from secateur_client.models import EventOut

_NO_MORE = 204


def follow(http: Http, path: str, after: int) -> Iterator[EventOut]:
    """Every event behind the id `after`, until the one that ends the log."""
    failed = 0
    while True:
        told = {"params": {"after": after}, "headers": {"Accept": "text/event-stream"}}
        try:
            with http.stream(path, **told) as response:
                if response.status_code == _NO_MORE:
                    return
                for message in httpx2.EventSource(response):
                    if message.data:
                        event: EventOut = json.loads(message.data)
                        after, failed = event["id"], 0
                        yield event
        except UnreachableError as error:
            failed += 1
            http.pause(failed, error)
