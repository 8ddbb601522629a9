"""A sweep: several methods at several sparsities on one model, compared."""

from secateur_client._sync.followed import Followed
from secateur_client._sync.http import address
from secateur_client._sync.job import Job
from secateur_client.models import Leaderboard, SweepOut


class Sweep(Followed):
    """A sweep as it was when the service told of it last.

    Attributes:
        data: the whole answer of the service.
    """

    noun = "sweep"
    data: SweepOut

    def leaderboard(self, metric: str | None = None) -> Leaderboard:
        """Its jobs, the best first, by the metric of its objective or another."""
        asked = {"metric": metric} if metric else {}
        found: Leaderboard = self._http.ask("GET", self._path("leaderboard"), params=asked)
        return found

    def best(self) -> Job | None:
        """The job that meets the objective best so far."""
        self.refresh()
        if (best := self.data["best_job_id"]) is None:
            return None
        return Job(self._http, self._http.ask("GET", address("jobs", best)))
