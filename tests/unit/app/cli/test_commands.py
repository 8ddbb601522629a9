"""Commands are imported when they run, and what is said about them before that is true."""

import inspect
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

from app.cli.main import Commands, app

# What takes longer to import than a client has: settings, database, arrays.
HEAVY = ("pydantic", "sqlalchemy", "numpy", "celery", "redis", "fastapi")
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


@pytest.mark.parametrize("arguments", CLIENTS, ids=lambda arguments: arguments[0])
def test_a_client_imports_no_server(arguments):
    program = (
        "import sys\n"
        "from app.cli.main import app\n"
        "try:\n    app()\n"
        "except SystemExit as ended:\n    code = ended.code\n"
        f"print(code, *[name for name in {HEAVY!r} if name in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments, "--url", "http://127.0.0.1:9", "--key", "k"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "4\n", ran.stderr
