"""A result as a CycloneDX bill of materials for machine learning (`bom.cdx.json`).

It tells of the pruned model, the base model it comes from, and the data it was calibrated and
evaluated on. Neither times nor ids of jobs are in it, so that the same run gives the same file.
Written by hand: the library for CycloneDX has no model cards.

Source: https://cyclonedx.org/docs/1.6/json/
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from app.recipes.evaluation import Estimate, EvaluationReport

BILL_FILE = "bom.cdx.json"
_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_MODEL, _BASE = "model", "base-model"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Findings:
    """What is known of a result beside its provenance.

    Attributes:
        base: name of the base model.
        architecture: class of the model; empty where the configuration names none.
        licence: `license`, `license_name` and `license_link` of the base model's card.
        sparsity: share of zeros in the matrices pruned; None where none was to become zero.
        evaluation: None where nothing was measured.
    """

    base: str
    architecture: str
    licence: Mapping[str, str]
    sparsity: float | None = None
    evaluation: EvaluationReport | None = None


def bill_of_materials(
    provenance: Mapping[str, Any], weights: Mapping[str, str], found: Findings
) -> Json:
    """The document.

    Args:
        provenance: as the manifest has it: `job`, `model_revision`, `datasets`, `versions`.
        weights: SHA-256 of every file of weights, by path.
        found: the rest.
    """
    datasets = [_dataset(part, each) for part, each in provenance["datasets"].items()]
    version = provenance["versions"]["secateur"]
    document = {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", "name": "secateur", "version": version}]
            },
            "component": _model(provenance, weights, found, datasets),
        },
        "components": datasets,
        "dependencies": [
            {"ref": _MODEL, "dependsOn": [each["bom-ref"] for each in datasets]},
            *({"ref": each["bom-ref"]} for each in datasets),
        ],
    }
    text = json.dumps(document, sort_keys=True)
    return document | {"serialNumber": uuid5(NAMESPACE_URL, text).urn}


def _model(
    provenance: Mapping[str, Any],
    weights: Mapping[str, str],
    found: Findings,
    datasets: list[Json],
) -> Json:
    job = provenance["job"]
    told = {
        "method": job["method"],
        "recipe": json.dumps(job["recipe"], sort_keys=True),
        **({} if found.sparsity is None else {"sparsity": repr(found.sparsity)}),
    }
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL,
        "name": f"{found.base}-{job['method']}",
        "version": _digest_of(weights),
        "description": f"{found.base}, pruned with {job['method']}",
        **_licences(found.licence),
        "pedigree": {"ancestors": [_base(provenance["model_revision"], found)]},
        "components": [
            {"type": "file", "name": path, "hashes": [_sha256(digest)]}
            for path, digest in sorted(weights.items())
        ],
        "modelCard": _card(found, "after", [each["bom-ref"] for each in datasets]),
        "properties": [
            {"name": f"secateur:{name}", "value": value} for name, value in told.items()
        ],
    }


def _base(revision: str | None, found: Findings) -> Json:
    """The base model, with what it measured before it was pruned."""
    return {
        "type": "machine-learning-model",
        "bom-ref": _BASE,
        "name": found.base,
        **({"version": revision} if revision else {}),
        **_licences(found.licence),
        "modelCard": _card(found, "before", []),
    }


def _card(found: Findings, when: str, datasets: list[str]) -> Json:
    parameters: Json = {"modelArchitecture": found.architecture} if found.architecture else {}
    if datasets:
        parameters["datasets"] = [{"ref": ref} for ref in datasets]
    card: Json = {"modelParameters": parameters}
    if found.evaluation is not None:
        metrics = [
            _metric(name, getattr(measured, when), found.evaluation.set)
            for name, measured in found.evaluation.metrics.items()
        ]
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return card


def _metric(name: str, estimate: Estimate, data: str) -> Json:
    """One metric with its 95 % interval; the format has numbers as texts."""
    return {
        "type": str(name),
        "value": repr(estimate.value),
        "slice": data,
        "confidenceInterval": {
            "lowerBound": repr(estimate.low),
            "upperBound": repr(estimate.high),
        },
    }


def _dataset(part: str, told: Mapping[str, Any]) -> Json:
    return {
        "type": "data",
        "bom-ref": f"dataset-{part}",
        "name": told["set"],
        "description": f"{told['records']} records for {part}; the hash is of them, in order",
        "hashes": [_sha256(told["sha256"])],
        "data": [{"type": "dataset", "name": told["set"]}],
    }


def _licences(card: Mapping[str, str]) -> Json:
    """SPDX's name of the licence where it has one, else the card's own."""
    named = card.get("license", "").strip("'\"")
    try:
        return {"licenses": [{"expression": canonicalize_license_expression(named)}]}
    except InvalidLicenseExpression:
        name = card.get("license_name", named).strip("'\"")
        return {"licenses": [{"license": {"name": name}}]} if name else {}


def _sha256(digest: str) -> Json:
    return {"alg": "SHA-256", "content": digest}


def _digest_of(weights: Mapping[str, str]) -> str:
    """What `sha256sum` says of its own list of the files."""
    lines = [f"{digest}  {path}\n" for path, digest in sorted(weights.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
