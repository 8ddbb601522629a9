"""The examples that cannot run here have the shape that their tools ask for."""

import ast
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from app.domain.submission import JobRequest

EXAMPLES = Path(__file__).parents[3] / "examples"
OPENAPI = json.loads(EXAMPLES.with_name("openapi.json").read_text())


def test_the_github_workflow_fits_its_schema():
    tool = Path(sys.executable).with_name("check-jsonschema")
    file = EXAMPLES / "github-action.yml"
    argv = [tool, "--builtin-schema", "vendor.github-workflows", file]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_github_workflow_has_no_input_in_a_script():
    """What is put into a script is run as a part of it."""
    job = YAML(typ="safe").load((EXAMPLES / "github-action.yml").read_text())["jobs"]["prune"]
    scripts = [step["run"] for step in job["steps"] if "run" in step]
    assert scripts
    assert not [each for each in scripts if "${{" in each]


def idempotency_keys():
    """The key of every example, as its tool would write it out."""
    texts = {path.name: path.read_text() for path in EXAMPLES.iterdir() if path.is_file()}
    [airflow] = re.findall(r'key = f"(.+)"', texts["airflow_dag.py"])
    github = YAML(typ="safe").load(texts["github-action.yml"])["jobs"]["prune"]["env"]
    argo = YAML(typ="safe").load(texts["argo-workflow.yaml"])["spec"]["templates"]
    [http] = [each["http"] for each in argo if each["name"] == "submit"]
    [key] = [each["value"] for each in http["headers"] if each["name"] == "Idempotency-Key"]
    return {"airflow": airflow, "github": github["IDEMPOTENCY_KEY"], "argo": key}


def test_keys_tell_tasks_apart_and_not_their_tries():
    keys = idempotency_keys()
    for name in ("dag_id", "run_id", "task_id", "map_index"):
        assert f"{{ti.{name}}}" in keys["airflow"]
    assert "try_number" not in keys["airflow"]
    for name in ("repository", "run_id", "run_attempt", "job"):
        assert f"${{{{ github.{name} }}}}" in keys["github"]
    assert "{{workflow.uid}}" in keys["argo"]
    assert "{{node.name}}" in keys["argo"]


def test_the_how_to_of_airflow_shows_the_task_of_the_example():
    page = EXAMPLES.with_name("docs") / "how-to" / "airflow.md"
    example = (EXAMPLES / "airflow_dag.py").read_text()
    [shown] = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    for line in filter(None, map(str.strip, shown.splitlines())):
        assert line in example


def test_the_airflow_dag_calls_what_exists():
    tree = ast.parse((EXAMPLES / "airflow_dag.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    http = [each for each in calls if getattr(each.func, "attr", getattr(each.func, "id", ""))]
    http = [each for each in http if {"endpoint", "method"} <= {each.arg for each in each.keywords}]
    assert len(http) == 2
    for call in http:
        given = {each.arg: each.value for each in call.keywords}
        path = re.sub("{{.*}}", "{job_id}", "/" + given["endpoint"].value)
        assert given["method"].value.lower() in OPENAPI["paths"][path]
    assert {"/v1/jobs", "/v1/jobs/{job_id}/retry"} <= OPENAPI["paths"].keys()
    [job] = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "JOB"
    ]
    assert JobRequest.model_validate(ast.literal_eval(job)).method == "wanda"


PIPELINES = EXAMPLES.with_name(".venv-pipelines") / "bin/python"
with_pipelines = pytest.mark.skipif(
    not (PIPELINES.parents[1] / "installed").exists(),
    reason="`make .venv-pipelines/installed` was not run",
)
ARGO = """
import json, sys, yaml
from hera.workflows.models import Workflow
told = yaml.safe_load(open(sys.argv[1]))
kept = json.loads(Workflow.model_validate(told).model_dump_json(by_alias=True, exclude_none=True))
sys.exit(kept != told)  # what the schema does not know would be gone
"""
KUBEFLOW = """
import json, runpy, sys, yaml
from kfp import compiler
pipeline = runpy.run_path(sys.argv[1])["pipeline"]
compiler.Compiler().compile(pipeline, sys.argv[2])
task = yaml.safe_load(open(sys.argv[2]))["root"]["dag"]["tasks"]["prune"]
print(json.dumps([task["retryPolicy"]["maxRetryCount"], task["inputs"]["parameters"]["run"]]))
"""


@with_pipelines
def test_the_argo_workflow_fits_its_schema(tmp_path):
    text = (EXAMPLES / "argo-workflow.yaml").read_text()
    for name, fits in ((text, True), (text.replace("successCondition", "succeeds"), False)):
        file = tmp_path / "workflow.yaml"
        file.write_text(name)
        ran = subprocess.run([PIPELINES, "-W", "ignore", "-c", ARGO, file], check=False)
        assert (ran.returncode == 0) is fits


@with_pipelines
def test_the_kubeflow_pipeline_compiles(tmp_path):
    argv = [PIPELINES, "-W", "ignore", "-c", KUBEFLOW]
    argv += [EXAMPLES / "kubeflow_pipeline.py", tmp_path / "prune.yaml"]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True)
    retries, key = json.loads(ran.stdout.splitlines()[-1])
    assert retries == 3
    assert "{{$.pipeline_job_uuid}}" in str(key)


def test_the_argo_workflow_joins_its_templates():
    spec = YAML(typ="safe").load(EXAMPLES / "argo-workflow.yaml")["spec"]
    templates = {each["name"]: each for each in spec["templates"]}
    steps = [step for group in templates[spec["entrypoint"]]["steps"] for step in group]
    assert [step["template"] for step in steps] == ["submit", "result"]
    given = {each["name"] for each in steps[1]["arguments"]["parameters"]}
    assert given == {each["name"] for each in templates["result"]["inputs"]["parameters"]}
    for name, verb, path in (
        ("submit", "post", "/v1/jobs"),
        ("result", "get", "/v1/jobs/{job_id}/result"),
    ):
        http = templates[name]["http"]
        asked = http["url"].replace("{{inputs.parameters.job}}", "{job_id}")
        assert asked == "{{workflow.parameters.url}}" + path
        assert http["method"].lower() == verb
        assert verb in OPENAPI["paths"][path]
        assert {"Authorization"} <= {each["name"] for each in http["headers"]}
    assert JobRequest.model_validate_json(templates["submit"]["http"]["body"]).model == "minilm"


def test_the_script_is_one_for_the_shell():
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("there is no POSIX shell here")
    subprocess.run([shell, "-n", EXAMPLES / "prune.sh"], check=True)


def model_classes():
    """What KServe's own generated models say of their fields: name in YAML -> type, by class."""
    found = {}
    for file in files("kserve"):
        if file.parts[:2] != ("kserve", "models") or file.suffix != ".py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                values = {
                    each.targets[0].id: ast.literal_eval(each.value)
                    for each in node.body
                    if isinstance(each, ast.Assign) and isinstance(each.value, ast.Dict)
                }
                names = values.get("attribute_map", {})
                types = values.get("openapi_types", {})
                found[node.name] = {names[field]: types[field] for field in names}
    return found


def assert_fits(value, kind, classes):
    """Everything in the document is a field of the class that the schema has there."""
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        for each in value:
            assert_fits(each, inner[1], classes)
    for name, each in value.items() if kind in classes else ():
        assert name in classes[kind], (kind, name)
        assert_fits(each, classes[kind][name], classes)


def test_the_inference_service_fits_the_models_of_kserve():
    [service] = YAML(typ="safe").load_all(EXAMPLES / "kserve.yaml")
    classes = model_classes()
    assert_fits(service, "V1beta1InferenceService", classes)
    wrong = {"spec": {"predictor": {"model": {"storageURI": "oci://"}}}}
    with pytest.raises(AssertionError, match="storageURI"):
        assert_fits(wrong, "V1beta1InferenceService", classes)
    uri = service["spec"]["predictor"]["model"]["storageUri"]
    assert re.fullmatch(r"oci\+native://[\w./-]+@sha256:[0-9a-f]{64}", uri)
