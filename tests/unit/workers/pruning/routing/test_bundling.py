"""One file from many: the shipped runtime is the package, definition by definition."""

import ast
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from tests.unit.workers.pruning.routing.subjects import FAMILIES, LAYERS, model_of, prompts
from workers.pruning.routing import runtime
from workers.pruning.routing.artifact import bundle, runtime_source

FOLDER = Path(runtime.__file__).parent


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The shipped file, imported as a user does."""
    path = tmp_path_factory.mktemp("shipped") / "shipped_runtime.py"
    path.write_text(runtime_source())
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]


def definitions(source):
    """What a module says, less imports and docstring, in comparable form."""
    body = ast.parse(source).body
    kept = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]
    return [ast.dump(node) for node in kept]


def test_it_holds_every_module_whole_and_nothing_else():
    modules = [path.read_text() for path in FOLDER.glob("*.py")]
    expected = sorted(each for source in modules for each in definitions(source)[1:])
    ours = definitions(runtime_source())
    every_listed = definitions((FOLDER / "__init__.py").read_text())
    assert sorted(ours[1:]) == expected
    assert ours[0] == every_listed[0]  # the docstring


def test_it_imports_no_project_code():
    tree = ast.parse(runtime_source())
    roots = {node.module.split(".")[0] for node in ast.walk(tree) if hasattr(node, "module")}
    roots |= {a.name for node in ast.walk(tree) if type(node) is ast.Import for a in node.names}
    assert roots - set(sys.stdlib_module_names) == {"torch", "transformers", "safetensors"}


def test_it_offers_the_same_names(shipped):
    assert shipped.__all__ == runtime.__all__
    assert all(getattr(shipped, name).__module__ == shipped.__name__ for name in ("par", "Router"))


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_it_prunes_to_the_same_bits(shipped, name):
    model, inputs = model_of(name), prompts(name)
    torch.manual_seed(0)
    state = runtime.SlimRouter(runtime.anatomy(model).hidden_size, LAYERS).state_dict()
    share = 0.5 if runtime.anatomy(model).prunes_tokens else 1.0
    answers = [answer_of(each, model, inputs, state, share) for each in (runtime, shipped)]
    for ours, theirs in zip(*answers, strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(answers[0][0], model(**inputs).logits)


def answer_of(code, model, inputs, state, share):
    """Logits and a greedy answer with this code's router, decision and runtime."""
    router = code.SlimRouter(code.anatomy(model).hidden_size, LAYERS)
    router.load_state_dict(state)

    def choose(embeddings, segments):
        scores = router(embeddings, segments)
        tokens = code.token_budget((segments == code.VISION).sum(1), share)
        return code.decide(scores, segments, tokens=tokens, layers=LAYERS - 1)

    with code.par(model, choose):
        return model(**inputs).logits, model.generate(**inputs, max_new_tokens=3, do_sample=False)


def package(tmp_path, **modules):
    """A package of these sources; `main` is what its `__init__` imports from."""
    lines = [f"from pkg.{name} import *" for name in modules]
    (tmp_path / "__init__.py").write_text('"""All of it."""\n' + "\n".join(lines) + "\n")
    for name, source in modules.items():
        (tmp_path / f"{name}.py").write_text(source)
    return tmp_path


def test_dependencies_come_first_and_imports_once(tmp_path):
    folder = package(
        tmp_path,
        a='"""A."""\n\nimport os\nfrom math import pi\n\nfrom pkg.b import two\n\nfour = two * 2\n',
        b='"""B."""\n\nimport os\nfrom math import e, pi\n\n# kept\ntwo = 2 if e < pi else 0\n',
    )
    made = bundle(folder, "pkg")
    assert made.count("import os") == 1
    assert "from math import e, pi" in made
    assert "# kept" in made
    space = {}
    exec(made, space)
    assert (space["four"], space["__doc__"].strip()) == (4, "All of it.")


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ({"a": "x = 1\n", "b": "x = 2\n"}, "a and b both define x"),
        ({"a": "from pkg.b import y\nx = 1\n", "b": "from pkg.a import x\ny = 2\n"}, "a -> b"),
        ({"a": "import numpy as np\n"}, "under another name, line 1"),
        ({"a": "def f():\n    import os\n"}, "inside a function"),
    ],
)
def test_what_cannot_be_merged_is_refused(tmp_path, modules, message):
    with pytest.raises(ValueError, match=message):
        bundle(package(tmp_path, **modules), "pkg")
