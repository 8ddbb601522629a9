"""Tasks of evaluation harnesses: what a job may name, and what came of them.

The harnesses are lm-eval (EleutherAI's) and lmms-eval (LMMs-Lab's). A worker runs them in an
interpreter of their own, on the files of the dense model and on those of the result.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.errors import UserError
from app.strict import Strict

Harness: TypeAlias = Literal["lm-eval", "lmms-eval"]
HARNESSES: tuple[Harness, ...] = ("lm-eval", "lmms-eval")

# Names go into registries of the harnesses; there, one with a slash or an end is a path.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"
OFFER = re.compile(rf"({'|'.join(HARNESSES)})/{NAME[1:-1]}")


class HarnessTask(Strict):
    """One task of a harness, by its name."""

    harness: Harness = Field(description="lm-eval for texts, lmms-eval for images with texts")
    task: str = Field(
        pattern=NAME,
        description="name of the task; GET /v1/workers shows those that workers offer",
        examples=["hellaswag"],
    )
    limit: int | None = Field(
        default=None, ge=1, le=1_000_000, description="first records of the task alone; null: all"
    )
    batch_size: int = Field(
        default=1, ge=1, le=256, description="requests per forward pass, where it is lm-eval"
    )

    @model_validator(mode="after")
    def _one_at_a_time(self) -> "HarnessTask":
        if self.harness == "lmms-eval" and self.batch_size != 1:
            raise PydanticCustomError(
                "task_batch_size", "lmms-eval runs one request at a time; leave batch_size out"
            )
        return self

    @property
    def offer(self) -> str:
        """The task as workers announce it: `lm-eval/hellaswag`."""
        return f"{self.harness}/{self.task}"


class TaskScore(Strict):
    """A figure as the harness gives it.

    Attributes:
        value: None where it is no finite number.
        stderr: standard error; None where the harness knows none.
    """

    value: float | None
    stderr: float | None = None


class TaskMetric(Strict):
    """One metric of a task, of both models."""

    before: TaskScore
    after: TaskScore
    higher_is_better: bool | None = None


class TaskReport(Strict):
    """What a task came to.

    Attributes:
        harness_version: of its package.
        task_version: as the task's file says; None where it does not.
        samples: records that both models were asked.
        metrics: by name; one of a filter of the harness has that behind a comma.
    """

    harness: Harness
    task: str
    harness_version: str
    task_version: str | None
    samples: int
    metrics: dict[str, TaskMetric]


TaskFailureCode: TypeAlias = Literal[
    "task_failed",
    "task_model_unsupported",
    "task_not_offered",
    "task_out_of_memory",
    "task_timed_out",
]


class TaskFailure(Strict):
    """Why a task has no figures; the result itself is as good as any.

    Attributes:
        code: `task_not_offered` where this worker has no such harness (any more).
        reason: in words.
    """

    harness: Harness
    task: str
    code: TaskFailureCode
    reason: str


# Models that write after texts and images in one stream, and after texts alone.
_STREAMS = frozenset(
    (
        *("aya_vision", "gemma3", "idefics2", "idefics3", "internvl", "llava", "llava_next"),
        *("llava_onevision", "mistral3", "paligemma", "qwen2_5_vl", "qwen2_vl", "qwen3_vl"),
        "smolvlm",
    )
)
_ENCODER_DECODERS = frozenset({"mt5", "t5", "umt5"})
_OF_LMMS = {
    "instructblip": "instructblip",
    "llava": "llava_hf",
    "llava_next": "llava_hf",
    "llava_onevision": "llava_hf",
    "qwen2_5_vl": "qwen2_5_vl",
    "qwen2_vl": "qwen2_vl",
    "qwen3_vl": "qwen3_vl",
}


def kind_of(harness: Harness, config: Mapping[str, Any]) -> str | None:
    """What the harness calls this kind of model; None where it runs none such.

    Args:
        harness: which.
        config: of config.json.
    """
    model_type = str(config.get("model_type"))
    if harness == "lmms-eval":
        return _OF_LMMS.get(model_type)
    architectures = config.get("architectures") or [""]
    name = str(architectures[0])
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if not name.endswith("ForConditionalGeneration"):
        return None
    if model_type in _STREAMS:
        return "causal"
    return "seq2seq" if model_type in _ENCODER_DECODERS else None


def check_model(tasks: Sequence[HarnessTask], model: str, config: Mapping[str, Any]) -> None:
    """Refuse tasks of a harness that does not run the model.

    Raises:
        TaskModelError: one is.
    """
    for task in tasks:
        if kind_of(task.harness, config) is None:
            raise TaskModelError(refusal(task.harness, model, config))


def refusal(harness: Harness, model: str, config: Mapping[str, Any]) -> str:
    """Why the harness does not run the model."""
    runs = {
        "lm-eval": "models that write texts after texts",
        "lmms-eval": f"models of the types {', '.join(sorted(_OF_LMMS))}",
    }
    name = (config.get("architectures") or [config.get("model_type")])[0]
    return f"{harness} runs {runs[harness]} here, and {model!r} is {name}"


class TaskModelError(UserError):
    """The harness of a task does not run models of this type."""

    code = "task_model_unsupported"


class TaskNotOfferedError(UserError):
    """No worker that could take the job has the task: its harness, its file and its data."""

    code = "task_not_offered"
