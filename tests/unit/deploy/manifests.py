"""The files that deploy the service, read."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "chart"
HELM = Path(sys.executable).with_name("helm")


def documents(file):
    return list(YAML(typ="safe").load_all(file))


def helm(*arguments):
    """Run Helm, which makes no cluster's acquaintance by that."""
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, check=False)


@cache
def rendered(*values):
    """Every object of the chart, with these values set (`key=value`)."""
    options = [part for value in values for part in ("--set", value)]
    ran = helm("template", "secateur", str(CHART), *options)
    assert ran.returncode == 0, ran.stderr
    return [each for each in YAML(typ="safe").load_all(ran.stdout) if each]


EVERYTHING = (
    "workers.cuda.enabled=true",
    "ingress.enabled=true",
    "ingress.host=secateur.example.org",
    "ingress.tlsSecret=tls",
    "apiSettings.SECATEUR_OIDC__ISSUER=https://id.example.org/realms/lab",
    "apiSettings.SECATEUR_OIDC__AUDIENCE=secateur",
)


def objects(*kinds):
    """Every object of these kinds, where everything is switched on."""
    return [each for each in rendered(*EVERYTHING) if each["kind"] in kinds]


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
