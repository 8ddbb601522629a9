"""What the forms of jobs and sweeps offer; anything else can be typed."""

from typing import Any

from app.console.visits import Desk
from app.planning.model_files.files import local_models
from app.recipes.data import Builtin
from app.recipes.evaluation import MetricName
from app.recipes.methods import METHODS
from app.services import datasets, workers
from app.services.jobs.submit import Rules

MOST_NAMES = 200  # of models and of data sets


def offers(desk: Desk, rules: Rules) -> dict[str, Any]:
    """Names to choose from, for the templates."""
    uploaded, _ = datasets.page(
        desk.connection, desk.caller, rules.datasets, limit=MOST_NAMES, cursor=None
    )
    return {
        "models": local_models(rules.outlines.roots)[:MOST_NAMES],
        "methods": [METHODS[name] for name in sorted(METHODS)],
        "builtin": list(Builtin),
        "uploaded": uploaded,
        "metrics": list(MetricName),
        "worker_classes": [each.machine.worker_class for each in workers.listing(desk.connection)],
    }
