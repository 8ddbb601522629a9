"""Who is served next, so that nobody's slow receivers take the places of others."""

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that could be done now, for an endpoint of a project."""

    id: str
    endpoint_id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class Shares:
    """How many may be under way: in all, of one project, to one endpoint."""

    total: int = 256
    project: int = 8
    endpoint: int = 4


def choose(
    candidates: Iterable[Candidate], held: Sequence[Candidate], shares: Shares
) -> list[Candidate]:
    """Those to begin now: project by project, the one with the fewest under way first.

    Args:
        candidates: in the order in which they are due.
        held: what is under way.
        shares: the limits.
    """
    projects = Counter(each.project_id for each in held)
    endpoints = Counter(each.endpoint_id for each in held)
    waiting: dict[str, deque[Candidate]] = {}
    for each in candidates:
        waiting.setdefault(each.project_id, deque()).append(each)
    turns = [(projects[name], turn, name) for turn, name in enumerate(waiting)]
    heapq.heapify(turns)
    chosen = list[Candidate]()
    while turns and len(held) + len(chosen) < shares.total:
        count, turn, project = heapq.heappop(turns)
        if count >= shares.project:
            continue
        queue = waiting[project]
        while queue and endpoints[queue[0].endpoint_id] >= shares.endpoint:
            queue.popleft()
        if queue:
            each = queue.popleft()
            endpoints[each.endpoint_id] += 1
            chosen.append(each)
            heapq.heappush(turns, (count + 1, turn, project))
    return chosen
