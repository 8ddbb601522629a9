"""What the API counts."""

from prometheus_client import Counter, Histogram

REQUESTS = Counter(
    "secateur_http_requests",
    "Requests answered, by route template.",
    ["method", "route", "status"],
)
REQUEST_SECONDS = Histogram(
    "secateur_http_request_seconds",
    "Time from a request's head to the end of its answer; streams count until they end.",
    ["method", "route"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
BYTES_SERVED = Counter(
    "secateur_http_response_bytes",
    "Bytes of answers' bodies; what clients fetch from an object store by a redirect is not among "
    "them.",
    ["route"],
)
