"""The modules that guard something, and the tests that guard them in turn.

Those that need a database name the quickest of its tests; all share one server.
"""

_APP, _API = "tests/unit/app", "tests/integration/app"
_DB, _UPLOADS = f"{_API}/db", f"{_APP}/uploads"
_PRUNING, _WORKERS = "tests/unit/workers/pruning", "tests/unit/workers"
_MODEL_FILES = f"{_APP}/planning/model_files"

# What comes from outside: uploads, archives, images, JSON, headers, patterns, URLs.
_FOREIGN = {
    "app/uploads/archive.py": (f"{_UPLOADS}/test_archive.py", f"{_UPLOADS}/test_ingest.py"),
    "app/uploads/images.py": (
        f"{_UPLOADS}/test_images.py",
        f"{_UPLOADS}/test_limits.py",
        f"{_UPLOADS}/test_ingest.py",
    ),
    "app/uploads/ingest.py": (f"{_UPLOADS}/test_limits.py", f"{_UPLOADS}/test_ingest.py"),
    "app/uploads/limits.py": (f"{_UPLOADS}/test_limits.py",),
    "app/uploads/rows.py": (f"{_UPLOADS}/test_limits.py", f"{_UPLOADS}/test_ingest.py"),
    "app/bounded_json.py": (f"{_APP}/test_bounded_json.py",),
    "app/recipes/module_patterns.py": (f"{_APP}/recipes/test_module_patterns.py",),
    "app/urls.py": (f"{_APP}/test_urls.py",),
    "app/planning/model_files/outlines.py": (
        f"{_MODEL_FILES}/test_outlines.py",
        f"{_API}/planning/test_outlines.py",
    ),
    "app/planning/model_files/headers.py": (f"{_MODEL_FILES}/test_headers.py",),
    "app/planning/model_files/files.py": (
        f"{_MODEL_FILES}/test_directory.py",
        f"{_MODEL_FILES}/test_listing.py",
        f"{_MODEL_FILES}/test_source.py",
        f"{_MODEL_FILES}/test_numbers.py",
    ),
}
# Who may do what, where messages may go, what must not be told.
_ACCESS = {
    "app/webhooks/guard.py": (f"{_APP}/webhooks/test_guard.py",),
    "app/webhooks/sender.py": (
        f"{_APP}/webhooks/test_sender.py",
        f"{_API}/webhooks/test_sender.py",
    ),
    "app/domain/webhooks.py": (
        f"{_APP}/domain/test_webhooks.py",
        f"{_APP}/webhooks/test_sender.py",
    ),
    "app/domain/tokens.py": (f"{_APP}/domain/test_tokens.py",),
    "app/oidc/issuer.py": (f"{_APP}/oidc/test_endpoint.py", f"{_API}/oidc/test_issuer.py"),
    "app/oidc/verifier.py": (f"{_API}/oidc/test_tokens.py",),
    "app/console/sessions.py": (f"{_APP}/console/test_sessions.py",),
    "app/telemetry/redaction.py": (f"{_APP}/telemetry/test_redaction.py",),
    "app/telemetry/tracebacks.py": (f"{_APP}/telemetry/test_tracebacks.py",),
    "app/domain/projects.py": (f"{_APP}/domain/test_projects.py",),
    "app/services/projects/service.py": (
        f"{_APP}/services/projects/test_quota_cache.py",
        f"{_DB}/test_quotas.py",
        f"{_DB}/test_keys.py",
        f"{_DB}/test_idempotency.py",
    ),
    "app/db/projects.py": (
        f"{_DB}/test_quotas.py",
        f"{_DB}/test_keys.py",
        f"{_DB}/test_idempotency.py",
    ),
    "app/db/webhooks.py": (f"{_DB}/test_endpoints.py", f"{_DB}/test_deliveries.py"),
}
# What is asked, and the right to a job.
_JOBS = {
    "app/domain/submission.py": (f"{_APP}/domain/test_submission.py",),
    "app/domain/jobs.py": (f"{_APP}/domain/test_jobs.py",),
    "app/db/jobs.py": (f"{_DB}/test_jobs.py", f"{_DB}/test_listing.py"),
    "app/db/leases.py": (f"{_DB}/test_leases.py", f"{_DB}/test_jobs.py"),
    "app/db/artifacts.py": (f"{_DB}/test_references.py",),
    "app/services/lifecycle/retention.py": (f"{_DB}/test_references.py",),
    "app/services/jobs/attempts.py": (
        f"{_DB}/test_ends.py",
        f"{_API}/services/jobs/test_attempts.py",
    ),
    "app/services/jobs/garbage_collection.py": (f"{_DB}/test_garbage.py",),
    "app/db/datasets.py": (f"{_DB}/test_garbage.py",),
    "workers/runtime/watchdog/rights.py": (f"{_WORKERS}/runtime/watchdog/test_rights.py",),
    "workers/runtime/outcomes.py": (f"{_WORKERS}/runtime/test_outcomes.py",),
    "workers/runtime/messages.py": (f"{_WORKERS}/runtime/test_messages.py",),
}
# What is stored and sent.
_FILES = {
    "app/packed/pack.py": (f"{_APP}/packed/test_pack.py",),
    "app/packed/unpack.py": (f"{_APP}/packed/test_pack.py",),
    "app/storage/local.py": (f"{_APP}/storage/test_local.py",),
    "app/storage/names.py": (f"{_APP}/storage/test_names.py",),
    "app/storage/tar.py": (f"{_APP}/storage/test_tar.py",),
    "workers/pipeline/export.py": (
        f"{_WORKERS}/pipeline/test_export.py",
        f"{_PRUNING}/selection/test_keep_sparse.py",
    ),
}
# How many weights go, which ones, and whether the result may be published.
_PRUNED = {
    "app/recipes/budgets.py": (f"{_APP}/recipes/test_budgets.py",),
    "app/recipes/evaluation.py": (f"{_APP}/domain/test_submission.py",),
    "workers/pruning/selection/selection.py": (f"{_PRUNING}/selection/test_selection.py",),
    "workers/pruning/selection/kth.py": (f"{_PRUNING}/selection/test_selection.py",),
    "workers/pruning/selection/keep_sparse.py": (f"{_PRUNING}/selection/test_keep_sparse.py",),
    "workers/pipeline/evaluation/interval.py": (
        f"{_WORKERS}/pipeline/evaluation/test_interval.py",
    ),
    "workers/pipeline/evaluation/stage.py": (f"{_WORKERS}/pipeline/evaluation/test_stage.py",),
}
GUARDS: dict[str, tuple[str, ...]] = _FOREIGN | _ACCESS | _JOBS | _FILES | _PRUNED
