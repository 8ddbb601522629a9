"""What models of each kind are run on, within what they have positions for."""

import pytest

from app.errors import CalibrationDataError
from app.planning.model_files.files import read_config
from app.recipes.data import inputs_of
from app.recipes.performance import ANSWER, IMAGE
from tests.families import BY_NAME
from workers.pipeline.performance.inputs import make_inputs
from workers.pruning.models.families.registry import adapt
from workers.pruning.models.loading import load_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def made(tmp_path):
    def of(name):
        BY_NAME[name].build(tmp_path / name)
        adapter = adapt(load_model(tmp_path / name))
        inputs, shapes = make_inputs(adapter, inputs_of(read_config(tmp_path / name)))
        return adapter, inputs, shapes

    return of


@pytest.mark.parametrize("name", ["llama", "gpt2", "llava", "qwen2_vl", "blip2_opt"])
def test_a_writers_prompt_leaves_room_for_its_answer(made, name):
    adapter, inputs, shapes = made(name)
    assert inputs["input_ids"].shape == (1, shapes.tokens)
    assert shapes.answer == ANSWER
    assert shapes.tokens + shapes.answer <= adapter.longest
    assert shapes.image == (None if BY_NAME[name].kind == "text" else IMAGE)


@pytest.mark.parametrize("name", ["llava", "qwen2_vl"])
def test_places_of_the_image_are_counted(made, name):
    adapter, inputs, shapes = made(name)
    places = int((inputs["input_ids"] == adapter.model.config.image_token_id).sum())
    assert 0 < places <= shapes.image_tokens <= places + 2  # and marks around them


@pytest.mark.parametrize(("name", "tokens"), [("bert", 64), ("clip", 64), ("vit", 0)])
def test_what_writes_nothing_reads_as_much_as_it_can(made, name, tokens):
    _, inputs, shapes = made(name)
    assert (shapes.tokens, shapes.answer, shapes.image_tokens) == (tokens, 0, 0)
    assert ("pixel_values" in inputs) == (shapes.image is not None)


def test_a_checkpoint_without_a_tokenizer_has_nothing_to_be_run_on(tmp_path):
    BY_NAME["llama"].build(tmp_path)
    for file in tmp_path.glob("token*"):
        file.unlink()
    adapter = adapt(load_model(tmp_path))
    with pytest.raises(CalibrationDataError, match="no usable tokenizer"):
        make_inputs(adapter, inputs_of(read_config(tmp_path)))
