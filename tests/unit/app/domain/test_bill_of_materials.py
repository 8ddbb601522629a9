import hashlib
import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from app.domain.bill_of_materials import Findings, bill_of_materials
from app.recipes.evaluation import Estimate, EvaluationReport, Measured

RECORDS = {"set": "shapes", "records": 4, "sha256": "ab" * 32}
PROVENANCE = {
    "job": {"model": "hf:org/model", "method": "wanda", "recipe": {"sparsity": 0.5}},
    "model_revision": "c0" * 20,
    "datasets": {"calibration": RECORDS, "evaluation": RECORDS | {"sha256": "cd" * 32}},
    "versions": {"secateur": "0.1.0", "torch": "2.13.0"},
}
WEIGHTS = {"model-1.safetensors": "12" * 32, "model-2.safetensors": "34" * 32}
EVALUATION = EvaluationReport(
    set="shapes",
    sha256="cd" * 32,
    samples=4,
    metrics={
        "perplexity": Measured(
            samples=4,
            before=Estimate(value=8.25, low=7.5, high=9),
            after=Estimate(value=9.5, low=9, high=10),
            change=Estimate(value=1.25, low=1, high=1.5),
        )
    },
)
FINDINGS = Findings("org/model", "BertModel", {"license": "apache-2.0"}, 0.5, EVALUATION)


def problem(document):
    """What the schema finds wrong, formats and unknown entries included."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document))


def licences(**card):
    bill = bill_of_materials(PROVENANCE, WEIGHTS, Findings("base", "", card))
    assert problem(bill) is None
    return bill["metadata"]["component"].get("licenses")


@pytest.mark.parametrize(
    ("provenance", "findings"),
    [
        (PROVENANCE, FINDINGS),
        (PROVENANCE | {"datasets": {}, "model_revision": None}, Findings("local", "", {})),
    ],
    ids=["everything", "the least"],
)
def test_the_document_follows_the_schema(provenance, findings):
    bill = bill_of_materials(provenance, WEIGHTS, findings)
    assert problem(bill) is None
    assert problem(bill | {"invented": 1}) is not None


def test_it_names_the_files_and_where_they_come_from():
    model = bill_of_materials(PROVENANCE, WEIGHTS, FINDINGS)["metadata"]["component"]
    files = {each["name"]: each["hashes"][0]["content"] for each in model["components"]}
    assert files == WEIGHTS
    (base,) = model["pedigree"]["ancestors"]
    assert (base["name"], base["version"]) == ("org/model", "c0" * 20)
    listed = "".join(f"{digest}  {path}\n" for path, digest in WEIGHTS.items())
    assert model["version"] == hashlib.sha256(listed.encode()).hexdigest()
    told = {each["name"]: each["value"] for each in model["properties"]}
    assert told["secateur:method"] == "wanda"
    assert told["secateur:sparsity"] == "0.5"
    assert json.loads(told["secateur:recipe"]) == {"sparsity": 0.5}


def test_data_sets_are_components_that_the_model_card_refers_to():
    bill = bill_of_materials(PROVENANCE, WEIGHTS, FINDINGS)
    digests = {each["bom-ref"]: each["hashes"][0]["content"] for each in bill["components"]}
    assert digests == {"dataset-calibration": "ab" * 32, "dataset-evaluation": "cd" * 32}
    card = bill["metadata"]["component"]["modelCard"]
    assert {each["ref"] for each in card["modelParameters"]["datasets"]} == digests.keys()
    assert card["modelParameters"]["modelArchitecture"] == "BertModel"


def test_each_model_has_the_metrics_that_were_measured_of_it():
    model = bill_of_materials(PROVENANCE, WEIGHTS, FINDINGS)["metadata"]["component"]
    values = []
    for each in (model["pedigree"]["ancestors"][0], model):
        (metric,) = each["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
        assert (metric["type"], metric["slice"]) == ("perplexity", "shapes")
        values.append((metric["value"], metric["confidenceInterval"]["lowerBound"]))
    assert values == [("8.25", "7.5"), ("9.5", "9.0")]


def test_licences_have_the_names_of_spdx_where_there_is_one():
    assert licences(license="apache-2.0") == [{"expression": "Apache-2.0"}]
    assert licences(license="'mit'") == [{"expression": "MIT"}]
    assert licences(license="gemma") == [{"license": {"name": "gemma"}}]
    named = licences(license="other", license_name="qwen", license_link="a b")
    assert named == [{"license": {"name": "qwen"}}]
    assert licences() is None


def test_the_serial_number_is_that_of_the_content():
    first, again = (bill_of_materials(PROVENANCE, WEIGHTS, FINDINGS) for _ in range(2))
    other = bill_of_materials(PROVENANCE, WEIGHTS | {"x.safetensors": "56" * 32}, FINDINGS)
    assert first == again
    assert first["serialNumber"] != other["serialNumber"]
