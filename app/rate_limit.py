"""Requests per project and minute, counted in Valkey so that all API processes share the count."""

import logging
import time
from dataclasses import dataclass

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger("secateur.api")

WINDOW = 60  # seconds


@dataclass(frozen=True, slots=True)
class Rate:
    """Where a project stands in the current minute."""

    limit: int
    used: int
    reset: int

    @property
    def exceeded(self) -> bool:
        """Is this request one too many?"""
        return self.used > self.limit

    def headers(self) -> dict[str, str]:
        """The `RateLimit` fields of the IETF draft (httpapi-ratelimit-headers)."""
        fields = {
            "RateLimit-Policy": f'"project";q={self.limit};w={WINDOW}',
            "RateLimit": f'"project";r={max(self.limit - self.used, 0)};t={self.reset}',
        }
        return fields | ({"Retry-After": str(self.reset)} if self.exceeded else {})


class RateLimiter:
    """Fixed windows of a minute."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)

    def take(self, project_id: str, limit: int) -> Rate | None:
        """Count one request. None where the counter is away: then nobody is refused."""
        now = int(time.time())
        key = f"secateur:rate:{project_id}:{now // WINDOW}"
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                pipeline.incr(key)
                pipeline.expire(key, 2 * WINDOW)
                used, _ = pipeline.execute()
        except (RedisError, OSError) as error:
            logger.warning("requests are not counted: %s", error)
            return None
        return Rate(limit, used, WINDOW - now % WINDOW)

    def close(self) -> None:
        """Drop all connections."""
        self._redis.close()
