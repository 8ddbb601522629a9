"""The files that deploy the service, read."""

import re
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))


def documents(file):
    return list(YAML(typ="safe").load_all(file))


def objects(*kinds):
    """Every object of Kubernetes of these kinds."""
    every = [each for file in KUBERNETES for each in documents(file)]
    return [each for each in every if each["kind"] in kinds]


def compose():
    """docker-compose.yml as Compose reads it where only what must be set is."""
    return interpolated(YAML(typ="safe").load(ROOT / "docker-compose.yml"))


def interpolated(value):
    if isinstance(value, dict):
        return {key: interpolated(each) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each) for each in value]
    if isinstance(value, str):
        required = re.sub(r"\$\{\w+:\?[^}]*\}", "given", value)
        return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", required)
    return value


def dockerfile():
    """Instructions of each stage of the Dockerfile, those of the stages it stands on included."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    stages = {}
    for line in text.splitlines():
        if found := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            stage = stages[found[2]] = list(stages.get(found[1], []))
        elif stages and re.match("[A-Z]+ ", line):
            stage.append(tuple(line.split(" ", 1)))
    return stages


def variables(stage):
    """What ENV sets in a stage."""
    text = " ".join(value for name, value in dockerfile()[stage] if name == "ENV")
    return dict(re.findall(r"(\w+)=(\S+)", text))
