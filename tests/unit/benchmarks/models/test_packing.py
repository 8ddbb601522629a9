"""A packed sequence trains on exactly what single questions would be."""

import pytest
import torch

from benchmarks.models.llava import build_model, build_processor
from benchmarks.models.packing import IGNORED
from benchmarks.models.train_llava import Lesson, answer_loss, batch, turn
from workers.scenes.drawing import draw
from workers.scenes.questions import ASKERS
from workers.scenes.scene import sample_scene
from workers.scenes.splits import Split


@pytest.fixture(scope="module")
def processor():
    return build_processor()


def test_packed_loss_is_the_loss_of_single_questions(processor):
    torch.manual_seed(0)
    model = build_model(processor)
    lesson = Lesson(range(1), 1, {"caption": 1, "cell": 1, "exists": 1}, 1e-3)
    rng = Split.TRAIN.rng(0, 0, 0)  # the only scene of batch 0 below
    scene = sample_scene(Split.TRAIN, rng)
    image = draw(scene, rng, warp=True)
    asked = [ASKERS[kind](scene, rng) for kind in ("caption", "cell", "exists")]
    packed = answer_loss(model, batch(processor, 0, lesson))

    total, count = torch.zeros(()), 0
    for question, answer in asked:
        text = f"<image> {question} {answer} </s>"
        inputs = processor(images=[image], text=[text], return_tensors="pt")
        labels = inputs.input_ids.clone()
        wanted = len(turn(processor, question, answer).answer)
        labels[:, :-wanted] = IGNORED
        total += model(**inputs, labels=labels).loss * wanted
        count += wanted
    torch.testing.assert_close(packed, total / count, rtol=1e-5, atol=1e-6)


def test_equal_steps_give_equal_batches(processor):
    first, second = (
        batch(processor, 7, Lesson(range(1), 2, {"cell": 1, "count": 2}, 1e-3)) for _ in range(2)
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_no_word_of_a_scene_is_unknown(processor):
    tokenizer = processor.tokenizer
    for index in range(200):
        rng = Split.TRAIN.rng(0, 1, index)
        scene = sample_scene(Split.TRAIN, rng)
        pairs = [pair for asker in ASKERS.values() if (pair := asker(scene, rng))]
        for question, answer in pairs:
            ids = tokenizer(f"{question} {answer}").input_ids
            assert tokenizer.unk_token_id not in ids
            assert tokenizer.decode(ids, skip_special_tokens=True) == f"{question} {answer}"


def test_chat_template_writes_the_prompt(processor):
    content = [{"type": "image"}, {"type": "text", "text": "how many digits ?"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}])
    assert prompt == "<image> how many digits ?"
