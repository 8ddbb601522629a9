"""What is told of a server that answers with no JSON of MLflow's."""

import httpx2
import pytest

from app.publishers import mlflow


def test_a_proxy_that_cannot_reach_the_server_is_named():
    def answer(_request):
        return httpx2.Response(502, text="<html>Bad Gateway</html>")

    with (
        httpx2.Client(
            base_url="http://mlflow.example/api/2.0/", transport=httpx2.MockTransport(answer)
        ) as http,
        pytest.raises(httpx2.HTTPStatusError, match="502 Bad Gateway"),
    ):
        mlflow._Server(http).version("captioner", "run", "m-1", None)
