"""A sweep: several methods at several sparsities on one model, compared."""

from secateur_client._async.followed import AsyncFollowed
from secateur_client._async.http import address
from secateur_client._async.job import AsyncJob
from secateur_client.models import Leaderboard, SweepOut


class AsyncSweep(AsyncFollowed):
    """A sweep as it was when the service told of it last.

    Attributes:
        data: the whole answer of the service.
    """

    noun = "sweep"
    data: SweepOut

    async def leaderboard(self, metric: str | None = None) -> Leaderboard:
        """Its jobs, the best first, by the metric of its objective or another."""
        asked = {"metric": metric} if metric else {}
        found: Leaderboard = await self._http.ask("GET", self._path("leaderboard"), params=asked)
        return found

    async def best(self) -> AsyncJob | None:
        """The job that meets the objective best so far."""
        await self.refresh()
        if (best := self.data["best_job_id"]) is None:
            return None
        return AsyncJob(self._http, await self._http.ask("GET", address("jobs", best)))
