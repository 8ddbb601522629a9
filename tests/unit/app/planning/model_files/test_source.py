import pytest

from app.errors import ModelSourceError
from app.planning.model_files.files import HubModel, LocalModel, parse_model_source


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:org/name", HubModel("org/name", "main")),
        ("hf:gpt2", HubModel("gpt2", "main")),
        ("hf:org/na-me_1.5@v1.0", HubModel("org/na-me_1.5", "v1.0")),
        ("hf:org/name@refs/pr/3", HubModel("org/name", "refs/pr/3")),
        ("minilm", LocalModel("minilm")),
        ("/srv/models/minilm", LocalModel("/srv/models/minilm")),
    ],
)
def test_reads_both_forms(text, expected):
    assert parse_model_source(text) == expected


@pytest.mark.parametrize(
    "text",
    ["hf:", "hf:a/b/c", "hf:a b", "hf:../x", "hf:a/b@", "hf:a/b@../x", " ", "https://x/y", "a\0b"],
)
def test_refuses_everything_else(text):
    with pytest.raises(ModelSourceError):
        parse_model_source(text)
