"""On what a job computes, and in which numbers."""

from typing import Annotated, Literal

from pydantic import Field

from app.strict import Strict

DEVICE = r"^(auto|cpu|cuda(:\d{1,2})?)$"

Device = Annotated[
    str,
    Field(
        pattern=DEVICE,
        description="cpu, cuda or cuda:N; auto is a GPU where the worker has one",
        examples=["cuda:0"],
    ),
]


class Compute(Strict):
    """The part of a job that says how it is computed."""

    device: Device = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="type that the job computes in; auto is the checkpoint's own, or float32 on a "
        "CPU without instructions for half precision. Gradients are computed in float32 in any "
        "case. Files keep their types",
    )
