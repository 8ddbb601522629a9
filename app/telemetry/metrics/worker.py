"""What a worker counts."""

from prometheus_client import Counter, Histogram

from app.domain.jobs import Lease

CLAIMS = Counter(
    "secateur_claims", "Messages that started a job (claimed), or found none (empty).", ["outcome"]
)
HEARTBEATS = Counter(
    "secateur_lease_heartbeats",
    f"Heartbeats, by what they learnt: {', '.join(Lease)}, or unreachable (the database was away).",
    ["outcome"],
)
ATTEMPTS = Counter(
    "secateur_attempts",
    "Attempts at jobs that ended on a worker: succeeded; failed (it would fail again); faulted "
    "(the fault may pass, so the job is tried again while it has attempts); handed_back (the "
    "worker was asked to end); stopped (cancelled, or the lease was lost). The code says why, as "
    "in the job's error.",
    ["method", "outcome", "code"],
)
KILLED = Counter(
    "secateur_worker_kills",
    "Worker processes ended by their watchdog, by why: cancelled or lost (the right to the job had "
    "ended and the process went on), stalled (no progress), drained (asked to end, and too slow).",
    ["reason"],
)
PHASE_SECONDS = Histogram(
    "secateur_phase_seconds",
    "Time an attempt spends in a phase at a time.",
    ["method", "phase"],
    buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600),
)
BLOCK_SECONDS = Histogram(
    "secateur_block_seconds",
    "Time to prune one block.",
    ["method"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900),
)
