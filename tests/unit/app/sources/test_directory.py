"""Which model directories are accepted, and what each refusal is called."""

import os
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from app.domain.errors import (
    ModelFilesError,
    ModelNotFoundError,
    ModelPathError,
    UnsafeWeightsError,
)
from app.sources.directory import (
    file_names,
    parse_config,
    read_config,
    read_file,
    resolve_local_model,
)


@pytest.fixture
def root(tmp_path):
    make(tmp_path / "root" / "org" / "tiny")
    return tmp_path / "root"


def make(directory, *names):
    directory.mkdir(parents=True)
    for name in names or ("config.json", "model.safetensors"):
        (directory / name).touch()
    return directory


def test_a_model_is_found_by_absolute_and_by_relative_path(root, tmp_path):
    other = tmp_path / "other"
    make(other / "small")
    roots = (root, other)
    assert resolve_local_model(str(root / "org/tiny"), roots) == root / "org/tiny"
    assert resolve_local_model("org/tiny", roots) == root / "org/tiny"
    assert resolve_local_model("small", roots) == other / "small"


def test_a_root_may_be_a_model_itself(root):
    assert resolve_local_model(".", (root / "org/tiny",)) == root / "org/tiny"


def test_a_root_may_be_a_link(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    assert resolve_local_model("org/tiny", (tmp_path / "link",)) == root / "org/tiny"


@pytest.mark.parametrize("path", ["../outside", "org/../../outside", "org/tiny/..", ".."])
def test_parent_references_are_refused_even_where_they_stay_inside(root, path):
    make(root.parent / "outside")
    with pytest.raises(ModelPathError, match=r"has '\.\.'"):
        resolve_local_model(path, (root,))


def test_a_path_outside_the_roots_is_refused_whether_or_not_it_exists(root, tmp_path):
    make(tmp_path / "twin")
    messages = set()
    for name in ("twin", "ghost"):
        with pytest.raises(ModelPathError) as caught:
            resolve_local_model(str(tmp_path / name), (root,))
        messages.add(str(caught.value).replace(name, ""))
    assert len(messages) == 1


def test_a_name_that_only_starts_like_a_root_is_outside(root, tmp_path):
    make(tmp_path / "root-of-another")
    with pytest.raises(ModelPathError):
        resolve_local_model(str(tmp_path / "root-of-another"), (root,))


def test_links_out_of_the_roots_are_refused(root, tmp_path):
    outside = make(tmp_path / "outside")
    (root / "linked").symlink_to(outside)
    with pytest.raises(ModelPathError, match="not under"):
        resolve_local_model("linked", (root,))


def test_a_file_that_is_a_link_out_of_the_roots_is_refused(root, tmp_path):
    (tmp_path / "secret").touch()
    (root / "org/tiny/tokenizer.json").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelPathError, match=r"tokenizer\.json"):
        resolve_local_model("org/tiny", (root,))


def test_links_inside_the_roots_are_followed(root):
    blob = root / "blobs" / "abc"
    blob.parent.mkdir()
    (root / "org/tiny/model.safetensors").rename(blob)
    (root / "org/tiny/model.safetensors").symlink_to(blob)
    assert resolve_local_model("org/tiny", (root,)) == root / "org/tiny"


@pytest.mark.parametrize(
    ("files", "error", "says"),
    [
        (("config.json",), ModelFilesError, "no \\*.safetensors"),
        (("model.safetensors",), ModelFilesError, "no config.json"),
        (("config.json", "pytorch_model.bin"), UnsafeWeightsError, "save the model again"),
    ],
)
def test_directories_that_are_no_model_are_refused(root, files, error, says):
    make(root / "odd", *files)
    with pytest.raises(error, match=says):
        resolve_local_model("odd", (root,))


def test_what_is_not_there_or_no_directory_is_not_found(root):
    (root / "file").touch()
    for path in ("nowhere", "file"):
        with pytest.raises(ModelNotFoundError, match=path):
            resolve_local_model(path, (root,))


def test_a_model_that_is_not_there_is_answered_with_those_that_are(root, tmp_path):
    make(root / "captioner")
    make(tmp_path / "elsewhere" / "secret")
    (root / "linked").symlink_to(tmp_path / "elsewhere" / "secret")
    with pytest.raises(ModelNotFoundError) as caught:
        resolve_local_model("captoner", (root,))
    words = "there is no model 'captoner'; did you mean 'captioner'? there are captioner, org/tiny"
    assert str(caught.value) == words
    with pytest.raises(ModelNotFoundError, match="hold none"):
        resolve_local_model("any", (tmp_path / "empty",))
    for number in range(12):
        make(root / f"m{number}")
    with pytest.raises(ModelNotFoundError, match=r"there are captioner, m0, .* and 4 more$"):
        resolve_local_model("zzz", (root,))


def test_without_roots_nothing_is_allowed(root):
    with pytest.raises(ModelPathError):
        resolve_local_model(str(root / "org/tiny"), ())


def test_links_that_lead_nowhere_or_around_are_refused(root):
    for name, target in (("a", "b"), ("b", "a")):
        (root / name).symlink_to(root / target)
    with pytest.raises((ModelPathError, ModelNotFoundError)):
        resolve_local_model("a", (root,))
    for path in ("x" * 300, "a\0b"):
        with pytest.raises((ModelPathError, ModelNotFoundError)):
            resolve_local_model(path, (root,))


def test_files_in_folders_belong_to_the_model_and_deeper_ones_do_not(root):
    tiny = root / "org" / "tiny"
    make(tiny / "onnx" / "deep", "x")
    (tiny / "onnx" / "y").touch()
    assert file_names(tiny) == {"config.json", "model.safetensors", "onnx/y"}


def test_a_link_in_a_folder_out_of_the_roots_is_refused(root, tmp_path):
    make(root / "org" / "tiny" / "onnx", "y")
    (tmp_path / "secret").touch()
    (root / "org/tiny/onnx/z").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelPathError, match="z in 'org/tiny' is a link"):
        resolve_local_model("org/tiny", (root,))


class Entry:
    def __init__(self, name, *, folder=False):
        self.name = self.path = name
        self.is_dir = lambda: folder
        self.is_file = lambda: not folder


@pytest.fixture
def files(monkeypatch):
    """Has folders hold so many files, by name."""

    def pretend(**numbers):
        @contextmanager
        def scandir(directory):
            name = Path(directory).name
            folders = [Entry(each, folder=True) for each in numbers if each != "model"]
            taken = folders if name == "model" else []
            yield iter([*taken, *(Entry(f"{name}{n}") for n in range(numbers.get(name, 0)))])

        monkeypatch.setattr(os, "scandir", scandir)
        return file_names(Path("model"))

    return pretend


def test_a_model_has_fewer_than_20_000_files(files):
    assert len(files(model=19_999)) == 19_999
    with pytest.raises(ModelFilesError, match="has 20000 files or more"):
        files(model=20_000)
    assert len(files(model=9_999, a=9_998)) == 19_997
    for numbers in ({"model": 9_999, "a": 10_000}, {"a": 30_000}, {"a": 15_000, "b": 15_000}):
        with pytest.raises(ModelFilesError):
            files(**numbers)


def test_folders_are_not_read_on_once_there_are_too_many_files(files, monkeypatch):
    with pytest.raises(ModelFilesError):
        files(**{f"f{n}": 15_000 for n in range(2000)})


def test_a_message_names_ten_models(root):
    for number in range(9):
        make(root / f"m{number}")
    with pytest.raises(ModelNotFoundError, match=r"m8, org/tiny$"):
        resolve_local_model("zzz", (root,))
    make(root / "m9")
    with pytest.raises(ModelNotFoundError, match=r"m9 and 1 more$"):
        resolve_local_model("zzz", (root,))


def test_a_thousand_models_are_looked_for(root, monkeypatch):
    seen = []

    def glob(self, _):
        for number in count():
            seen.append(number)
            yield self / f"m{number}" / "config.json"

    monkeypatch.setattr(Path, "glob", glob)
    with pytest.raises(ModelNotFoundError, match="and 990 more"):
        resolve_local_model("nowhere", (root,))
    assert len(seen) == 2000, "at both depths"


def test_a_configuration_is_bounded(tmp_path):
    file = tmp_path / "config.json"
    file.write_bytes(b'{"a": 1}' + b" " * ((4 << 20) - 8))
    assert read_config(tmp_path) == {"a": 1}
    file.write_bytes(b'{"a": 1}' + b" " * ((4 << 20) - 7))
    with pytest.raises(ModelFilesError, match=r"config\.json cannot be read: longer than 4194304"):
        read_config(tmp_path)
    with pytest.raises(ModelFilesError, match="not a JSON object"):
        parse_config(b"[]")
    assert parse_config(b'{"a": 1, "a": 2}') == {"a": 2}
    assert read_file(file, 3) == b'{"a"'
