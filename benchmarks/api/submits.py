"""Submits per second, beside one INSERT per request."""

import asyncio
from statistics import median

from benchmarks.api.client import Server, message, rate
from benchmarks.api.servers import Servers
from benchmarks.figures import Figure

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
ROUNDS, SECONDS, CLIENTS = 7, 3.0, 16


def measure(servers: Servers, rounds: int = ROUNDS) -> dict[str, Figure]:
    """Both servers in turn, so that neither has the quieter machine."""
    service, bare = servers.api("submits").server, servers.bare()
    requests = {
        service: message(service, "POST", "/v1/jobs", JOB),
        bare: message(bare, "POST", "/rows", JOB),
    }

    def run(server: Server) -> float:
        return asyncio.run(rate(server, requests[server], clients=CLIENTS, seconds=SECONDS))

    for server in (service, bare):
        run(server)  # warm
    pairs = [(run(service), run(bare)) for _ in range(rounds)]
    return {
        "submits per second": Figure(median(ours for ours, _ in pairs)),
        "inserts per second of a bare handler": Figure(median(theirs for _, theirs in pairs)),
        "submits / bare inserts": Figure(
            median(ours / theirs for ours, theirs in pairs), least=0.5
        ),
    }
