"""Which model directories are accepted, and what each refusal is called."""

import pytest

from app.errors import ModelFilesError, ModelNotFoundError, ModelPathError, UnsafeWeightsError
from app.planning.model_files.files import resolve_local_model


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
