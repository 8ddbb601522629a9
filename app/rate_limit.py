"""Requests per project and minute, counted in Valkey so that all API processes share the count."""

import logging
import time
from dataclasses import dataclass
from threading import Lock

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger("secateur.api")

WINDOW = 60  # seconds
AWAY_SECONDS = 5  # nobody asks a counter again that has just not answered
# A process counts ahead this part of what is left in the minute, this part of what it has used
# itself, and never more than so many.
OF_LEFT, OF_USED, MOST = 64, 4, 100


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


@dataclass(slots=True)
class _Share:
    """Requests of a minute that this process has counted beforehand."""

    window: int
    limit: int
    counted: int = 0
    left: int = 0
    used: int = 0

    @property
    def size(self) -> int:
        """How many to count next: few, so that others find theirs; one by one near the limit."""
        ahead = (self.limit - self.counted) // OF_LEFT
        return max(min(ahead, self.used // OF_USED, MOST), 1)

    def take(self, reset: int) -> Rate:
        """Use one of them."""
        self.left -= 1
        self.used += 1
        return Rate(self.limit, self.counted - self.left, reset)


class RateLimiter:
    """Fixed windows of a minute.

    A busy process counts a share of what is left at a time, so most requests cost no round trip.
    The others miss what it does not use: at most a 64th of the limit, and none near the limit.
    """

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)
        self._shares: dict[str, _Share] = {}
        self._lock = Lock()
        self._away_until = 0

    def take(self, project_id: str, limit: int) -> Rate | None:
        """Count one request. None where the counter is away: then nobody is refused."""
        now = int(time.time())
        if 0 < self._away_until - now <= AWAY_SECONDS:
            return None
        window, reset = now // WINDOW, WINDOW - now % WINDOW
        with self._lock:
            share = self._shares.get(project_id)
            if share is None or (share.window, share.limit) != (window, limit):
                share = self._shares[project_id] = _Share(window, limit)
            if share.left:
                return share.take(reset)
            size = share.size
        try:
            counted = self._count(project_id, window, size)
        except (RedisError, OSError) as error:
            self._away_until = now + AWAY_SECONDS
            logger.warning("requests are not counted: %s", error)
            return None
        with self._lock:
            share.counted = max(share.counted, counted)
            share.left += size
            return share.take(reset)

    def _count(self, project_id: str, window: int, size: int) -> int:
        """Requests of all processes in this window, `size` more included."""
        key = f"secateur:rate:{project_id}:{window}"
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.incrby(key, size)
            pipeline.expire(key, 2 * WINDOW)
            counted, _ = pipeline.execute()
        return int(counted)

    def close(self) -> None:
        """Drop all connections."""
        self._redis.close()
