"""Where a registry may have uploads go: credentials and weights are for its own address alone."""

import httpx2
import pytest

from app.domain.publications import PublishingError
from app.publishers.oci_registry import Repository, blob_of

BLOB = blob_of("text/plain", b"weights")


def push(location):
    """The addresses that a blob is sent to, by a registry that names `location`."""
    sent = []

    def answer(request):
        if request.method == "PUT":
            sent.append(str(request.url.copy_with(query=None)))
            return httpx2.Response(201)
        if request.method == "POST":
            return httpx2.Response(202, headers={"Location": location})
        return httpx2.Response(404)

    with httpx2.Client(
        base_url="https://registry.example", transport=httpx2.MockTransport(answer)
    ) as http:
        Repository(http, "acme/captioner", "user:password").put_blob(BLOB)
    return sent


@pytest.mark.parametrize(
    "location",
    ["/upload?state=a", "https://registry.example/upload", "https://registry.example:443/upload"],
)
def test_uploads_go_where_the_registry_says(location):
    assert push(location) == ["https://registry.example/upload"]


@pytest.mark.parametrize(
    "location",
    [
        "https://elsewhere.example/upload",
        "http://registry.example/upload",
        "https://registry.example:8443/upload",
    ],
)
def test_uploads_go_nowhere_else(location):
    with pytest.raises(PublishingError, match="wants uploads to go to"):
        push(location)
