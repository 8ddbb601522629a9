"""Kubeflow Pipelines: a component that prunes a model, and a pipeline of it.

    pip install kfp && python examples/kubeflow_pipeline.py   # writes prune.yaml, to be uploaded

The component needs nothing but Python: `Idempotency-Key` names the task of the run, so a task that
is tried again goes on with its job. The key of the service is in a secret of the cluster, which
`kfp-kubernetes` hands to the task as a variable:

    kubernetes.use_secret_as_env(task, "secateur", {"key": "SECATEUR_KEY"})
"""

from pathlib import Path

from kfp import compiler, dsl


@dsl.component(base_image="python:3.13-slim")
def prune(  # noqa: PLR0917
    url: str,
    model: str,
    method: str,
    sparsity: float,
    run: str,
    pruned: dsl.Output[dsl.Model],
) -> None:
    """Prune a model and keep its files as the artifact `pruned`.

    Args:
        url: of the service.
        model: as the service names it, `hf:org/model`.
        method: of pruning.
        sparsity: share of weights that become zero.
        run: the same each time that the task is tried.
        pruned: the directory with the checkpoint.
    """
    import json  # noqa: PLC0415  a component has its imports inside
    import os  # noqa: PLC0415
    import tarfile  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    bearer = {"Authorization": f"Bearer {os.environ['SECATEUR_KEY']}"}

    def ask(path: str, body: dict | None = None, **headers: str):  # noqa: ANN202
        data = None if body is None else json.dumps(body).encode()
        headers = bearer | {"Content-Type": "application/json"} | headers
        asked = urllib.request.Request(f"{url}/v1/jobs{path}", data, headers)  # noqa: S310
        return urllib.request.urlopen(asked, timeout=120)  # noqa: S310

    wanted = {"model": model, "method": method, "sparsity": sparsity}
    job = json.load(ask("", wanted, **{"Idempotency-Key": run}))
    while job["status"] not in {"succeeded", "failed", "cancelled"}:
        job = json.load(ask(f"/{job['id']}?wait=60"))
        print(job["status"], job.get("phase"), f"{job.get('progress') or 0:.0%}", flush=True)
    if job["status"] != "succeeded":
        raise RuntimeError(f"{job['id']} {job['status']}: {job['error']}")
    with ask(f"/{job['id']}/archive") as answer, tarfile.open(fileobj=answer, mode="r|*") as files:
        for member in files:
            member.name = member.name.partition("/")[2]  # without the folder of the archive
            if member.name:
                files.extract(member, pruned.path, filter="data")
    pruned.metadata |= {"job": job["id"], "sparsity": job["result"]["sparsity"]}


@dsl.pipeline(name="prune")
def pipeline(
    url: str = "http://secateur-api.secateur",
    model: str = "minilm",
    method: str = "wanda",
    sparsity: float = 0.5,
) -> None:
    """Prune a model."""
    run = f"{dsl.PIPELINE_JOB_ID_PLACEHOLDER}/{dsl.PIPELINE_TASK_NAME_PLACEHOLDER}"
    task = prune(url=url, model=model, method=method, sparsity=sparsity, run=run)
    task.set_retry(num_retries=3)
    task.set_caching_options(enable_caching=False)


if __name__ == "__main__":
    compiler.Compiler().compile(pipeline, str(Path("prune.yaml")))
