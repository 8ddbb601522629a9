"""PAR at inference: a router picks image tokens and decoder layers, once per prompt.

Source: "Pruning All-Rounder: Rethinking and Improving Inference Efficiency for Large Vision
Language Models", arXiv 2412.06458 (ICCV 2025). The paper's: a router before the first decoder
layer reads the merged embeddings and one learned token per layer; hard top-k by budget; image
tokens leave from decoder layer 2 on; a skipped layer is the identity; one decision per prompt.
This project's: tokens and layers are really left out (the release only masks them), the slim
router, bidirectional attention, the fixed prior of the layer scores, the coverage floor.

An artifact carries it as one file, `par_runtime.py`, which needs torch, safetensors and
transformers 5. Use::

    with attach(model, "artifact-directory", profile="balanced") as pruned:
        model.generate(**inputs)
        pruned.profile = "fast"  # no reload

B is the batch, S the length of a prompt, N the number of decoder layers, D the hidden size. One
thread at a time may use a model while it is pruned.
"""

from workers.pruning.routing.runtime.anatomy import (
    PADDING,
    TEXT,
    VISION,
    Anatomy,
    anatomy,
    config_hash,
)
from workers.pruning.routing.runtime.attachment import par
from workers.pruning.routing.runtime.decision import (
    DROP_LAYER,
    DecideFn,
    Decision,
    decide,
    layer_candidates,
    running_layers,
    token_budget,
)
from workers.pruning.routing.runtime.errors import ArtifactError, ParError, UnsupportedModelError
from workers.pruning.routing.runtime.full import FullRouter
from workers.pruning.routing.runtime.profile import Profile
from workers.pruning.routing.runtime.pruned import Pruned, attach
from workers.pruning.routing.runtime.reading import FORMAT, build_router, read_config, read_router
from workers.pruning.routing.runtime.router import Router, Scores
from workers.pruning.routing.runtime.slim import SlimRouter

__all__ = [
    "DROP_LAYER",
    "FORMAT",
    "PADDING",
    "TEXT",
    "VISION",
    "Anatomy",
    "ArtifactError",
    "DecideFn",
    "Decision",
    "FullRouter",
    "ParError",
    "Profile",
    "Pruned",
    "Router",
    "Scores",
    "SlimRouter",
    "UnsupportedModelError",
    "anatomy",
    "attach",
    "build_router",
    "config_hash",
    "decide",
    "layer_candidates",
    "par",
    "read_config",
    "read_router",
    "running_layers",
    "token_budget",
]
