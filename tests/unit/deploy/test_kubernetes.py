"""The chart's objects fit their schemas, and name what the code and the images have."""

import base64
import json
import re
import subprocess

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from app.main import create_app
from app.settings import Settings
from tests.unit.deploy.manifests import CHART, EVERYTHING, ROOT, helm, objects, rendered, variables

IMAGES = {"secateur-api": "api", "secateur-worker": "worker", "secateur-worker-cuda": "worker-cuda"}
# In an environment of its own: its libraries want other versions than ours.
PIPELINES = ROOT / ".venv-pipelines/bin/python"
KEDA = """
import json, sys
from cloudcoil.models.keda import v1alpha1
for told in json.load(sys.stdin):
    made = getattr(v1alpha1, told["kind"]).model_validate(told)
    kept = json.loads(made.model_dump_json(by_alias=True, exclude_none=True))
    assert kept["spec"] == told["spec"], kept  # what the schema does not know would be gone
"""


def pods():
    """Every pod there may be, by its part."""
    made = objects("Deployment", "Job")
    return {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"]
        for each in made
    }


PODS = sorted(pods())


def container(name):
    [found] = pods()[name]["spec"]["containers"]
    return found


@pytest.fixture
def settings_of(monkeypatch):
    """The settings of a pod: the image's, the config map's, its own."""

    def settings(name):
        [config] = objects("ConfigMap")
        own = {each["name"]: each.get("value") for each in container(name)["env"]}
        secret = {
            "SECATEUR_DATABASE__URL": "postgresql+psycopg://host/secateur",
            "SECATEUR_QUEUE__URL": "redis://host:6379/0",
        }
        image = container(name)["image"].removesuffix(":0.1.0")
        values = variables(IMAGES[image]) | config["data"] | own | secret
        assert {key for key in values if key.startswith("SECATEUR_")} <= set(
            Settings().environment()
        )
        for key, value in values.items():
            monkeypatch.setenv(key, value)
        return Settings()

    return settings


FEWER = ("keda.enabled=false", "networkPolicy.enabled=false", "firstKey.existingSecret=mine")


@pytest.mark.parametrize("values", [(), EVERYTHING, FEWER], ids=["usual", "everything", "fewer"])
def test_objects_fit_their_schemas(values):
    for document in rendered(*values):
        if not document["apiVersion"].startswith("keda.sh/"):
            kubernetes_validate.validate(document, "1.37", strict=True)


@pytest.mark.skipif(
    not (PIPELINES.parents[1] / "installed").exists(),
    reason="`make .venv-pipelines/installed` was not run",
)
def test_what_is_meant_for_keda_fits_its_models():
    told = objects("ScaledObject", "TriggerAuthentication")
    assert len(told) == 3
    wrong = [each | {"spec": each["spec"] | {"minReplicas": 0}} for each in told]
    for documents, fits in ((told, True), (wrong, False)):
        argv = [PIPELINES, "-W", "ignore", "-c", KEDA]
        ran = subprocess.run(
            argv, input=json.dumps(documents), capture_output=True, text=True, check=False
        )
        assert (ran.returncode == 0) is fits, ran.stderr


def test_helm_finds_nothing_to_say():
    ran = helm("lint", "--strict", str(CHART))
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    "value",
    [
        "api.replicas=0",
        "ingress.enabled=true",  # without a host
        "apiSecrets.SECATEUR_OIDC__CLIENT_SECRET=in-the-open",
        "storage.size=much",
        "replicas=3",
        "workers.gpu.enabled=true",  # without anything else
        "settings.secateur_umask=077",
    ],
)
def test_values_that_mean_nothing_are_refused(value):
    ran = helm("template", "secateur", str(CHART), "--set", value)
    assert ran.returncode != 0
    assert "schema" in ran.stderr


def test_several_may_live_in_one_namespace():
    names = [
        {(each["kind"], each["metadata"]["name"]) for each in rendered(*EVERYTHING)},
        {
            (each["kind"], each["metadata"]["name"])
            for each in YAML(typ="safe").load_all(helm("template", "other", str(CHART)).stdout)
            if each
        },
    ]
    assert not names[0] & names[1]


def test_the_first_key_is_one_that_the_command_takes():
    [secret] = objects("Secret")
    key = base64.b64decode(secret["data"]["key"]).decode()
    assert re.fullmatch("sct_[A-Za-z0-9_-]{32,}", key)
    made = container("first-key")
    assert made["command"][:3] == ["secateur", "keys", "adopt"]
    folder, _, name = made["command"][-1].rpartition("/")
    assert folder in {mount["mountPath"] for mount in made["volumeMounts"]}
    assert name in secret["data"]
    assert key not in str(pods())
    assert not [each for each in rendered(*FEWER) if each["kind"] == "Secret"]


def test_clients_come_in_by_the_ingress():
    [ingress], [service] = objects("Ingress"), objects("Service")
    [rule] = ingress["spec"]["rules"]
    [path] = rule["http"]["paths"]
    named = path["backend"]["service"]
    assert named["name"] == service["metadata"]["name"]
    assert named["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    assert ingress["spec"]["tls"] == [{"hosts": [rule["host"]], "secretName": "tls"}]


def test_what_scales_exists():
    scaled = [each["spec"]["scaleTargetRef"]["name"] for each in objects("ScaledObject")]
    made = {each["metadata"]["name"]: each["spec"] for each in objects("Deployment")}
    assert sorted(scaled) == ["secateur-worker-cpu", "secateur-worker-cuda"]
    assert not [name for name in scaled if "replicas" in made[name]]  # KEDA says how many
    [fixed] = [
        each["spec"]["replicas"]
        for each in rendered(*FEWER)
        if each["metadata"]["name"] == "secateur-worker-cpu" and each["kind"] == "Deployment"
    ]
    assert fixed == 1


@pytest.mark.parametrize("name", PODS)
def test_settings_are_known_and_accepted(name, settings_of):
    settings = settings_of(name)
    if name.startswith("worker-"):
        assert settings.worker.class_name == name.removeprefix("worker-")
    assert bool(settings.oidc.issuer) == (name == "api")
    grace = pods()[name]["spec"]["terminationGracePeriodSeconds"]
    # The pod is asked to end five seconds after its endpoint is forgotten.
    longest = settings.worker if name.startswith("worker-") else settings.api
    assert grace > longest.drain_seconds + 5


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_asked_after_its_health_where_it_answers(name, settings_of):
    settings, ours = settings_of(name), container(name)
    ports = {port["name"]: port["containerPort"] for port in ours.get("ports", ())}
    probes = [ours[key]["httpGet"] for key in ("livenessProbe", "readinessProbe") if key in ours]
    if name == "api":
        assert ports == {"http": settings.api.port, "metrics": settings.telemetry.metrics_port}
        assert {probe["path"] for probe in probes} == {"/livez", "/readyz"}
        assert {probe["path"] for probe in probes} <= set(create_app(settings).openapi()["paths"])
    elif name not in {"migrate", "first-key"}:
        assert ports == {"metrics": settings.telemetry.metrics_port}
        ready = ["/readyz"] if name.startswith("worker-") else []
        assert [probe["path"] for probe in probes] == ["/", *ready]
    assert {probe["port"] for probe in probes} <= set(ports)
    if scraped := pods()[name]["metadata"].get("annotations"):
        assert scraped["prometheus.io/port"] in map(str, ports.values())


@pytest.mark.parametrize("name", PODS)
def test_a_pod_finds_what_it_mounts_and_reads(name):
    spec, ours = pods()[name]["spec"], container(name)
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert {mount["name"] for mount in ours["volumeMounts"]} == set(volumes)
    claims = {each["metadata"]["name"] for each in objects("PersistentVolumeClaim")}
    wanted = [
        each["persistentVolumeClaim"]["claimName"]
        for each in volumes.values()
        if "persistentVolumeClaim" in each
    ]
    assert set(wanted) <= claims
    maps = {each["metadata"]["name"] for each in objects("ConfigMap")}
    assert {each["configMapRef"]["name"] for each in ours["envFrom"]} <= maps
    # The head of the values has the reader make the secret with these.
    head = (CHART / "values.yaml").read_text()
    made = set(re.findall(r"--from-literal=([\w-]+)=", head))
    keys = {each["valueFrom"]["secretKeyRef"]["key"] for each in ours["env"] if "valueFrom" in each}
    assert keys == {"database-url", "queue-url"}
    scaler = {
        each["key"]
        for auth in objects("TriggerAuthentication")
        for each in auth["spec"]["secretTargetRef"]
    }
    assert keys | scaler == made


def test_services_and_budgets_mean_pods_that_exist():
    labels = [pod["metadata"]["labels"] for pod in pods().values()]
    chosen = [each["spec"]["selector"] for each in objects("Service")]
    chosen += [each["spec"]["selector"]["matchLabels"] for each in objects("PodDisruptionBudget")]
    assert len(chosen) == 4
    for wanted in chosen:
        assert len([each for each in labels if wanted.items() <= each.items()]) == 1


def test_nobody_reaches_a_pod_but_where_it_answers(settings_of):
    policies = {
        each["metadata"]["name"].removeprefix("secateur-"): each["spec"]
        for each in objects("NetworkPolicy")
    }
    everyone = policies["nobody"]["podSelector"]["matchLabels"].items()
    assert all(everyone <= pod["metadata"]["labels"].items() for pod in pods().values())
    assert policies["nobody"].keys() == {"podSelector", "policyTypes"}
    settings, labels = settings_of("api"), pods()["api"]["metadata"]["labels"]
    open_to = {"clients": settings.api.port, "metrics": settings.telemetry.metrics_port}
    for name, port in open_to.items():
        assert policies[name]["podSelector"]["matchLabels"].items() <= labels.items()
        [rule] = policies[name]["ingress"]
        assert [each["port"] for each in rule["ports"]] == [port]
        assert all(each["namespaceSelector"] for each in rule["from"])
    _, _, outside = policies["outside"]["egress"]
    assert outside.keys() == {"to"}
    assert "169.254.0.0/16" in outside["to"][0]["ipBlock"]["except"]


def test_names_are_asked_for_at_the_cache_of_a_node():
    """It is no pod, and its address is one of those that are blocked: open at port 53 alone."""

    def rule(*values):
        [egress] = [
            each["spec"]["egress"]
            for each in rendered(*values)
            if each["metadata"]["name"] == "secateur-outside"
        ]
        return egress[1:-1]

    ports = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    assert rule() == [{"to": [{"ipBlock": {"cidr": "169.254.20.10/32"}}], "ports": ports}]
    [other] = rule("networkPolicy.dns={169.254.169.254/32,fd00:ec2::1/128}")
    assert [each["ipBlock"]["cidr"] for each in other["to"]] == [
        "169.254.169.254/32",
        "fd00:ec2::1/128",
    ]
    assert rule("networkPolicy.dns=null") == []
