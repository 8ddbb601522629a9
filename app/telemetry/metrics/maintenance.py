"""What the maintenance process counts."""

from prometheus_client import Counter, Gauge, Histogram

LEASES_EXPIRED = Counter(
    "secateur_leases_expired", "Attempts ended because their worker stopped sending heartbeats."
)
JOBS_OVERDUE = Counter(
    "secateur_jobs_overdue", "Jobs ended because they waited or ran for longer than they may."
)
MESSAGES = Counter(
    "secateur_messages",
    "Messages handed to the broker (sent), or marked to be sent again since the broker has lost "
    "them (lost).",
    ["event"],
)
DELIVERIES = Counter(
    "secateur_webhook_attempts",
    "Attempts at webhook deliveries: delivered, pending (tried again later), failed (for good), "
    "gone (the receiver answered 410).",
    ["outcome"],
)
DELIVERY_SECONDS = Histogram(
    "secateur_webhook_attempt_seconds", "Time a receiver takes to answer a delivery."
)
SWEPT = Counter(
    "secateur_swept",
    "What nobody needs any more and was discarded: files of attempts, checkpoints of ended jobs, "
    "deleted data sets.",
    ["kind"],
)
UNREACHABLE = Counter(
    "secateur_maintenance_interrupted",
    "Rounds of maintenance cut short because the database, the broker or the store was away.",
)
FAILURES = Counter(
    "secateur_maintenance_failures",
    "Items that a loop of maintenance failed on and set aside, to be tried again later.",
    ["loop"],
)
FOREIGN = Gauge(
    "secateur_foreign_entries",
    "Entries beside the service's own files that are left alone: of the artifact store (files), of "
    "the directory of checkpoints (checkpoints).",
    ["kind"],
)
