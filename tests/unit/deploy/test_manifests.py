"""Manifests fit their schemas, and name what the code has."""

import json
import re
from pathlib import Path

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from app.settings import Settings
from docs._ext import reference

DEPLOY = Path(__file__).parents[3] / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
# Of KEDA's own kinds, what we use; their schema travels with no package.
KEDA = {
    "ScaledObject": {
        "required": {"scaleTargetRef", "triggers"},
        "known": {"minReplicaCount", "maxReplicaCount", "pollingInterval", "cooldownPeriod"},
    },
    "TriggerAuthentication": {"required": {"secretTargetRef"}, "known": set()},
}


def documents(file):
    return list(YAML(typ="safe").load_all(file))


def everything():
    return [each for file in KUBERNETES for each in documents(file)]


@pytest.mark.parametrize("file", KUBERNETES, ids=lambda file: file.stem)
def test_manifests_fit_their_schemas(file):
    for document in documents(file):
        kind, group = document["kind"], document["apiVersion"].partition("/")[0]
        if group == "keda.sh":
            keys = set(document["spec"])
            assert KEDA[kind]["required"] <= keys <= KEDA[kind]["required"] | KEDA[kind]["known"]
        elif kind != "Kustomization":
            kubernetes_validate.validate(document, "1.37", strict=True)


def test_every_manifest_is_applied():
    for folder in (DEPLOY / "kubernetes", DEPLOY / "kubernetes/cuda"):
        [kustomization] = documents(folder / "kustomization.yaml")
        named = set(kustomization["resources"]) - {".."}
        assert named == {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml"}


def test_what_scales_exists():
    made = {each["metadata"]["name"] for each in everything() if each["kind"] == "Deployment"}
    scaled = [each["spec"] for each in everything() if each["kind"] == "ScaledObject"]
    assert {spec["scaleTargetRef"]["name"] for spec in scaled} == {"worker-cpu", "worker-cuda"}
    assert {spec["scaleTargetRef"]["name"] for spec in scaled} <= made


@pytest.mark.parametrize("place", ["kubernetes", "../docker-compose.yml", "../Dockerfile"])
def test_settings_named_exist(place):
    path = DEPLOY / place
    files = path.rglob("*.yaml") if path.is_dir() else [path]
    text = "".join(file.read_text() for file in files)
    known = Settings().environment()
    named = set(re.findall(r"\b(SECATEUR_\w+__\w+|SECATEUR_DATA_DIR)\b", text))
    assert named
    assert named <= set(known)


def test_the_dashboard_asks_for_metrics_that_exist():
    board = json.loads((DEPLOY / "grafana/dashboards/secateur.json").read_text())
    asked = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    page = reference.metrics()
    names = {re.sub("_bucket$", "", name) for name in re.findall(r"\bsecateur_\w+", asked)}
    assert len(names) > 10
    for name in names:
        assert f"`{name}`" in page, name
