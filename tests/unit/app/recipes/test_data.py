"""Names of data sets."""

import pytest
from pydantic_core import PydanticCustomError

from app.recipes.data import Builtin, HubSet, Uploaded, parse_dataset


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("sentences", Builtin.SENTENCES),
        ("sha256:" + "0a" * 32, Uploaded("sha256:" + "0a" * 32)),
        ("hf:a/b#train", HubSet("a/b", "train")),
        ("hf:a/b/c@v1#test", HubSet("a/b", "test", config="c", revision="v1")),
    ],
)
def test_the_three_forms(name, source):
    assert parse_dataset(name) == source


@pytest.mark.parametrize(
    "name", ["", "Sentences", "sha256:0a", "sha256:" + "0A" * 32, "hf:a/b", "hf:a/../b#c", "a#b"]
)
def test_anything_else_is_refused(name):
    with pytest.raises(PydanticCustomError) as error:
        parse_dataset(name)
    assert error.value.type == "dataset_name_invalid"
