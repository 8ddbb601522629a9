"""`secateur reproduce`: run the job of a manifest again and compare what comes of it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.client import AsJson, Client, Json, Key, Url, connected
from app.cli.commands.jobs.watch import watch_to_end
from app.cli.console import Exit, err, fail, out

MANIFEST = "manifest.json"
_TIMED = {"README.md", "pruning_report.json", "report.html"}  # tell times, where they were measured
NEEDED = {"request", "model_revision", "files", "versions"}


def reproduce(
    manifest: Annotated[Path, typer.Argument(help="manifest.json of the job's files.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Run a job again as its manifest tells, and compare the SHA-256 of every file.

    Of a job that was measured, the report, the card and the page tell times, and are left out.
    Exits with 1 where a file differs; other versions of the libraries may be why.
    """
    first = _read(manifest)
    with connected(url, key) as client:
        job = client.submit(_request(first))
        err.print(job["id"])
        job = watch_to_end(client, job["id"])
        if job["status"] != "succeeded":
            fail(f"job {job['id']} {job['status']}; nothing can be compared")
        found = _compare(client, job["id"], first)
    if as_json:
        out.print_json(data=found)
    else:
        _tell(found)
    if not found["reproduced"]:
        raise typer.Exit(Exit.FAILED)


def _read(path: Path) -> Json:
    try:
        manifest: Json = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        fail(f"manifest_invalid: {path} cannot be read: {error}", Exit.USAGE)
    if not isinstance(manifest, dict) or not manifest.keys() >= NEEDED:
        fail(f"manifest_invalid: {path} is not the manifest of a job", Exit.USAGE)
    return manifest


def _request(manifest: Json) -> Json:
    """The request, with a model of the hub at the very commit it had; nothing is timed again."""
    request: Json = {k: v for k, v in manifest["request"].items() if k != "measure"}
    if manifest["model_revision"] is not None:
        request["model"] = f"{request['model'].partition('@')[0]}@{manifest['model_revision']}"
    return request


def _compare(client: Client, job_id: str, first: Json) -> Json:
    with client.file(job_id, MANIFEST, 0) as response:
        second: Json = json.loads(response.read())
    before, after = first["files"], second["files"]
    timed = _TIMED if first["request"].get("measure") else set()
    paths = sorted((before.keys() | after.keys()) - timed)
    different = [path for path in paths if before.get(path) != after.get(path)]
    was, is_now = first["versions"], second["versions"]
    versions = {name: [was.get(name), is_now[name]] for name in is_now}
    return {
        "job": job_id,
        "reproduced": not different,
        "files": len(paths),
        "left_out": sorted(timed),
        "different": different,
        "versions": {name: pair for name, pair in versions.items() if pair[0] != pair[1]},
    }


def _tell(answer: Json) -> None:
    if answer["reproduced"]:
        out.print(f"{answer['job']}: all {answer['files']} files are the same")
        return
    out.print(f"{answer['job']}: {len(answer['different'])} of {answer['files']} files differ")
    for path in answer["different"]:
        out.print(f"  {path}")
    for name, (before, after) in answer["versions"].items():
        out.print(f"  {name} was {before} and is {after}")
