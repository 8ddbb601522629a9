"""What makes a folder of ours a model of MLflow: an `MLmodel` of the transformers flavour.

The layout is MLflow's (https://mlflow.org/docs/latest/ml/model/). The checkpoint stays where it is,
at the top of the folder; the small files of tokenizer and processor are there once more, in the
folders in which MLflow looks for them.
"""

import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FILE, REQUIREMENTS, ENVIRONMENT = "MLmodel", "requirements.txt", "python_env.yaml"
COMPONENTS = "components"
# A server of models needs these, in the versions that the job ran with.
_LIBRARIES = ("torch", "transformers", "safetensors")

# What of a checkpoint tells that it has a tokenizer, or a processor of pictures.
_TOKENIZER = {"tokenizer_config.json"}
_PICTURES = {"preprocessor_config.json", "processor_config.json"}
_SIDE_FILES = (".json", ".txt", ".model", ".jinja", ".spm", ".tiktoken")
_NOT_SIDE_FILES = {
    *("config.json", "generation_config.json", "manifest.json", "pruning_report.json"),
    "model.safetensors.index.json",
}


def extras(
    files: Mapping[str, Path], *, run_id: str, model_id: str, model_name: str
) -> dict[str, bytes | Path]:
    """What to put beside a checkpoint so that `mlflow.pyfunc.load_model` loads it.

    Args:
        files: a job's, by path.
        run_id: of the run that logs them.
        model_id: of the logged model that has them.
        model_name: what the base model is called.

    Returns:
        Contents, or files to copy, by path; empty for what plain transformers does not load (the
        files of a router), or where no pipeline of transformers fits.
    """
    config = _json(files.get("config.json"))
    architecture = next(iter(config.get("architectures") or []), None)
    if not isinstance(architecture, str):
        return {}
    parts = _components(files)
    task = _task(architecture, config, parts)
    if task is None:
        return {}
    versions = _json(files.get("manifest.json")).get("versions", {})
    flavour: dict[str, Any] = {
        "task": task,
        "instance_type": "Pipeline",
        "pipeline_model_type": architecture,
        "source_model_name": model_name,
        "model_binary": ".",
        "components": [name for name in parts if name != "processor"],
        "transformers_version": versions.get("transformers"),
        "code": None,
        **{f"{name}_type": kind for name, kind in parts.items()},
    }
    if dtype := config.get("dtype") or config.get("torch_dtype"):
        flavour["torch_dtype"] = f"torch.{dtype}"
    model = {
        "run_id": run_id,
        "model_id": model_id,
        "model_uuid": model_id,
        "utc_time_created": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}",
        "flavors": {
            "python_function": {
                "loader_module": "mlflow.transformers",
                "python_version": platform.python_version(),
                "env": {"virtualenv": ENVIRONMENT},
            },
            "transformers": flavour,
        },
    }
    wanted = [f"{name}=={versions[name]}" for name in _LIBRARIES if name in versions]
    requirements = "\n".join(["mlflow", *wanted, "pillow", ""])
    environment = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
    made: dict[str, bytes | Path] = {
        # JSON is YAML, and MLflow reads both files as YAML.
        FILE: json.dumps(model, indent=1).encode(),
        REQUIREMENTS: requirements.encode(),
        ENVIRONMENT: json.dumps(environment).encode(),
    }
    side = {
        path: file
        for path, file in files.items()
        if "/" not in path and path.endswith(_SIDE_FILES) and path not in _NOT_SIDE_FILES
    }
    for name in parts:
        made |= {f"{COMPONENTS}/{name}/{path}": file for path, file in side.items()}
        # Tokenizers and processors read the model's type.
        made[f"{COMPONENTS}/{name}/config.json"] = files["config.json"]
    return made


def _components(files: Mapping[str, Path]) -> dict[str, str]:
    """MLflow's name of each component there is, and the class that loads it."""
    found = {}
    if files.keys() & _TOKENIZER:
        found["tokenizer"] = "AutoTokenizer"
    if files.keys() & _PICTURES:
        found["image_processor"] = "AutoImageProcessor"
        if "tokenizer" in found:
            found["processor"] = "AutoProcessor"
    return found


def _task(architecture: str, config: Mapping[str, Any], parts: Mapping[str, str]) -> str | None:
    """The pipeline of transformers that a model is for; None where there is none."""
    sees, reads = "image_processor" in parts, "tokenizer" in parts
    both = "vision_config" in config
    fits = {
        "image-text-to-text": architecture.endswith("ForConditionalGeneration") and both,
        "text-generation": architecture.endswith(("ForCausalLM", "LMHeadModel")) and reads,
        "image-classification": architecture.endswith("ForImageClassification") and sees,
        "text-classification": architecture.endswith("ForSequenceClassification") and reads,
        "zero-shot-image-classification": both and "text_config" in config,
        "feature-extraction": reads and not both,
        "image-feature-extraction": sees and not reads,
    }
    return next(
        (task for task, fit in fits.items() if fit and (not both or (sees and reads))), None
    )


def _json(file: Path | None) -> dict[str, Any]:
    """An object of a file of ours; empty where there is none."""
    if file is None:
        return {}
    found = json.loads(file.read_bytes())
    return found if isinstance(found, dict) else {}
