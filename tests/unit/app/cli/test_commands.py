"""Commands are imported when they run, and what is said about them before that is true."""

import inspect
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from app.cli.main import Commands, app

# What takes longer to import than a client has: settings, database, arrays, models.
HEAVY = (
    *("pydantic", "sqlalchemy", "alembic", "psycopg", "celery", "redis", "fastapi", "starlette"),
    *("numpy", "torch", "transformers", "huggingface_hub", "ruamel.yaml"),
)
# Commands for the machine that runs the service, which read its settings.
OF_THE_SERVICE = {"up", "demo", "worker", "doctor", "migrate", "gc"}
CLIENTS = (
    ("show", "job_x"),
    ("report", "job_x"),
    ("jobs",),
    ("submit", "model", "--method", "wanda"),
    ("watch", "job_x"),
    ("download", "job_x", "somewhere"),
    ("sweep", "list"),
    ("datasets", "list"),
    ("keys", "list"),
    ("webhooks", "list"),
)


@pytest.fixture(scope="module")
def group():
    return typer.main.get_command(app)


@pytest.mark.parametrize("name", Commands.entries)
def test_the_line_of_help_is_the_commands_own(group, name):
    said = inspect.cleandoc(group.load(name).help).splitlines()[0]
    assert Commands.entries[name].summary == said


def test_it_tells_its_version():
    ran = CliRunner().invoke(app, ["--version"])
    assert (ran.exit_code, ran.stdout) == (0, f"secateur {version('secateur')}\n")


def test_an_unknown_command_is_refused_with_a_near_name():
    ran = CliRunner().invoke(app, ["submitt"])
    assert ran.exit_code == 2
    assert "'submit'" in ran.stderr


def loaded(program, *arguments):
    """What a process of its own prints, and the heavy modules that it has imported."""
    watched = f"import sys\n{program}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", watched, *arguments], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("arguments", CLIENTS, ids=lambda arguments: arguments[0])
def test_a_client_imports_no_server(arguments):
    program = (
        "from app.cli.main import app\n"
        "try:\n    app()\n"
        "except SystemExit as ended:\n    print(ended.code, end=' ')"
    )
    assert loaded(program, *arguments, "--url", "http://127.0.0.1:9", "--key", "k") == "4 \n"


def test_no_command_of_a_client_waits_for_a_server(group):
    clients = sorted(set(Commands.entries) - OF_THE_SERVICE)
    program = (
        "import typer\n"
        "from app.cli.main import app\n"
        "group = typer.main.get_command(app)\n"
        f"for name in {clients!r}:\n    group.load(name)"
    )
    assert loaded(program) == "\n"


def test_the_list_of_commands_needs_no_http():
    program = (
        "from app.cli.main import app\n"
        "try:\n    app(['--help'])\n"
        "except SystemExit:\n    print('httpx2' in sys.modules)"
    )
    assert loaded(program).splitlines()[-2:] == ["False", ""]
