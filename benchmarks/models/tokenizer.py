"""One word, one token: a tokenizer for everything that is ever said about a scene."""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from workers.scenes.questions import NUMBERS, PLURALS
from workers.scenes.scene import COLOURS, DIGITS, POSITIONS, SHAPES

# CLIPTextModel reads an end token of number 2 as "none set", so the end token has another.
SPECIAL = {
    "pad_token": "<pad>",
    "bos_token": "<s>",
    "unk_token": "<unk>",
    "eos_token": "</s>",
    "image_token": "<image>",
}
_QUESTION_WORDS = (
    "describe the scene . read digits what is in ? nothing which digit colour where how many "
    "shapes things left or right of above below there a yes no ,"
)


def build_tokenizer(*, end: bool) -> PreTrainedTokenizerFast:
    """Build it; with `end`, texts close with the end token (CLIP), else they stay open (LLaVA)."""
    words = [
        *SPECIAL.values(),
        *_QUESTION_WORDS.split(),
        *COLOURS,
        *SHAPES,
        *PLURALS.values(),
        *DIGITS,
        *NUMBERS,
        *POSITIONS,
    ]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    begin, close = SPECIAL["bos_token"], SPECIAL["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {close}" if end else f"{begin} $A",
        special_tokens=[(begin, vocabulary[begin]), (close, vocabulary[close])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        padding_side="right" if end else "left",
        model_max_length=128,
        **{name: word for name, word in SPECIAL.items() if name != "image_token" or not end},
    )
