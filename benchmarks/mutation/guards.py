"""The modules that guard something, and the tests that guard them in turn.

Those that need a database name the quickest of its tests; all share one server.
"""

_APP, _API = "tests/unit/app", "tests/integration/app"
_DB, _UPLOADS = f"{_API}/db", f"{_APP}/uploads"
_PRUNING, _WORKERS = "tests/unit/pruning", "tests/unit/workers"

# What comes from outside: uploads, archives, images, JSON, headers, patterns, URLs.
_FOREIGN = {
    "app/uploads/archive.py": (f"{_UPLOADS}/test_archive.py", f"{_UPLOADS}/test_ingest.py"),
    "app/uploads/images.py": (f"{_UPLOADS}/test_limits.py", f"{_UPLOADS}/test_ingest.py"),
    "app/uploads/ingest.py": (f"{_UPLOADS}/test_limits.py", f"{_UPLOADS}/test_ingest.py"),
    "app/uploads/limits.py": (f"{_UPLOADS}/test_limits.py",),
    "app/uploads/rows.py": (f"{_UPLOADS}/test_limits.py", f"{_UPLOADS}/test_ingest.py"),
    "app/domain/bounded_json.py": (f"{_APP}/domain/test_bounded_json.py",),
    "app/domain/patterns.py": (f"{_APP}/domain/test_patterns.py",),
    "app/domain/urls.py": (f"{_APP}/domain/test_urls.py",),
    "app/domain/checkpoint_form.py": (f"{_APP}/domain/test_checkpoint_form.py",),
    "app/sources/headers.py": (f"{_APP}/sources/test_headers.py",),
    "app/sources/directory.py": (f"{_APP}/sources/test_directory.py",),
    "app/sources/model_files.py": (f"{_APP}/sources/test_model_files.py",),
}
# Who may do what, where messages may go, what must not be told.
_ACCESS = {
    "app/webhooks/guard.py": (f"{_APP}/webhooks/test_guard.py",),
    "app/webhooks/signing.py": (f"{_APP}/webhooks/test_signing.py",),
    "app/domain/shares.py": (f"{_APP}/domain/test_shares.py",),
    "app/telemetry/redaction.py": (f"{_APP}/telemetry/test_redaction.py",),
    "app/telemetry/tracebacks.py": (f"{_APP}/telemetry/test_tracebacks.py",),
    "app/domain/access.py": (f"{_APP}/domain/test_access.py",),
    "app/services/room.py": (f"{_APP}/services/test_room.py",),
    "app/services/keys.py": (f"{_DB}/test_keys.py",),
    "app/db/keys.py": (f"{_DB}/test_keys.py",),
    "app/services/projects.py": (f"{_DB}/test_quotas.py",),
    "app/db/projects.py": (f"{_DB}/test_quotas.py",),
    "app/db/deliveries.py": (f"{_DB}/test_deliveries.py",),
}
# What is asked, and the right to a job.
_JOBS = {
    "app/domain/submission.py": (f"{_APP}/domain/test_submission.py",),
    "app/domain/jobs.py": (f"{_APP}/domain/test_jobs.py",),
    "app/db/jobs.py": (f"{_DB}/test_jobs.py", f"{_DB}/test_listing.py"),
    "app/db/leases.py": (f"{_DB}/test_leases.py",),
    "app/db/needs.py": (f"{_DB}/test_needs.py",),
    "app/services/keeping.py": (f"{_DB}/test_needs.py",),
    "app/services/attempts.py": (f"{_DB}/test_ends.py", f"{_API}/test_attempts.py"),
    "app/services/leftovers.py": (f"{_DB}/test_garbage.py",),
    "app/db/datasets.py": (f"{_DB}/test_garbage.py",),
    "workers/rights.py": (f"{_WORKERS}/test_rights.py",),
    "workers/outcomes.py": (f"{_WORKERS}/test_outcomes.py",),
    "workers/messages.py": (f"{_WORKERS}/test_messages.py",),
}
# What is stored and sent.
_FILES = {
    "app/packed/pack.py": (f"{_APP}/packed/test_pack.py",),
    "app/packed/unpack.py": (f"{_APP}/packed/test_pack.py",),
    "app/storage/local.py": (f"{_APP}/storage/test_local.py",),
    "app/storage/names.py": (f"{_APP}/storage/test_names.py",),
    "app/storage/tar.py": (f"{_APP}/storage/test_tar.py",),
    "workers/pipeline/verify.py": (f"{_WORKERS}/pipeline/test_verify.py",),
}
# How many weights go, which ones, and whether the result may be published.
_PRUNED = {
    "app/domain/budgets.py": (f"{_APP}/domain/test_budgets.py",),
    "app/domain/evaluation.py": (f"{_APP}/domain/test_submission.py",),
    "workers/pruning/selection.py": (f"{_PRUNING}/test_selection.py",),
    "workers/pruning/kth.py": (f"{_PRUNING}/test_selection.py",),
    "workers/pruning/keep_sparse.py": (f"{_PRUNING}/test_keep_sparse.py",),
    "workers/pipeline/evaluation/interval.py": (
        f"{_WORKERS}/pipeline/evaluation/test_interval.py",
    ),
    "workers/pipeline/evaluation/stage.py": (f"{_WORKERS}/pipeline/evaluation/test_stage.py",),
}
GUARDS: dict[str, tuple[str, ...]] = _FOREIGN | _ACCESS | _JOBS | _FILES | _PRUNED
