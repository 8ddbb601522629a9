"""With --json, every command that prints something prints one JSON document."""

import itertools
import json
from functools import cached_property

import pytest
import typer

from app.cli.main import app
from app.db import workers
from app.planning.machines import Machine
from docs._ext.reference import _walk

JOB = ("tiny", "--method", "magnitude", "--sparsity", 0.5)
# Commands that need a machine of their own, with the tests that try them.
ELSEWHERE = {"up", "demo", "worker", "reproduce"}
NUMBER = itertools.count()
FIGURES = {
    "samples": 64,
    "before": {"value": 0.9, "low": 0.8, "high": 1.0},
    "after": {"value": 0.8, "low": 0.7, "high": 0.9},
    "change": {"value": -0.1, "low": -0.2, "high": 0.0},
}
MEASURED = {"set": "s", "sha256": "0", "samples": 64, "metrics": {"similarity": FIGURES}}


class Things:
    """What commands are about, each made when it is first asked for."""

    def __init__(self, secateur, hand, engine, directory):
        self.secateur, self.hand, self.engine, self.directory = secateur, hand, engine, directory

    def say(self, *arguments):
        ran = self.secateur(*arguments)
        assert ran.exit_code == 0, ran.output
        return ran.stdout.strip()

    @cached_property
    def job(self):
        return self.say("submit", *JOB)

    @cached_property
    def done(self):
        self.hand.succeed(self.hand.claim(self.job), {"manifest.json": b"{}"}.items())
        return self.job

    @cached_property
    def cancelled(self):
        self.say("cancel", self.job)
        return self.job

    @cached_property
    def sweep(self):
        return self.say(
            *("sweep", "submit", *JOB, "--evaluate", "sentences", "--metric", "similarity")
        )

    @cached_property
    def ended_sweep(self):
        board = json.loads(self.say("sweep", "leaderboard", self.sweep, "--json"))
        job = self.hand.claim(board["standings"][0]["job_id"])
        self.hand.succeed(job, evaluation=MEASURED)
        return self.sweep

    @cached_property
    def rows(self):
        file = self.directory / "rows.jsonl"
        file.write_text(f'{{"text": "{next(NUMBER)}"}}\n')
        return file

    @cached_property
    def dataset(self):
        return self.say("datasets", "upload", self.rows)

    @cached_property
    def model(self):
        name = f"model-{next(NUMBER)}"
        self.say("models", "publish", name, self.done)
        return name

    @cached_property
    def webhook(self):
        made = self.say("webhooks", "create", "https://example.com/hook", "--json")
        return json.loads(made)["webhook"]["id"]

    @cached_property
    def delivery(self):
        assert self.webhook
        assert self.cancelled
        return json.loads(self.say("webhooks", "deliveries", self.webhook, "--json"))[0]["id"]

    @cached_property
    def key(self):
        return json.loads(self.say("keys", "create", "spare", "--json"))["key"]["id"]

    @cached_property
    def secret_file(self):
        file = self.directory / "secret"
        file.write_text(f"sct_{next(NUMBER):040}")
        return file

    @cached_property
    def project(self):
        made = self.say("projects", "create", f"project-{next(NUMBER)}", "--json")
        return json.loads(made)["project"]["id"]

    @cached_property
    def worker_class(self):
        with self.engine.begin() as connection:
            workers.put(connection, Machine("gone", 8 * 10**9, 2, "cpu", 0, None, 20.0, 1e8))
        return "gone"


def beside(made):
    """No arguments, of a command that lists what was made."""
    assert made
    return ()


COMMANDS = {
    "plan": lambda _: JOB,
    "submit": lambda _: JOB,
    "watch": lambda things: (things.done,),
    "download": lambda things: (things.done, things.directory / "files"),
    "report": lambda things: (things.done, "--file", things.directory / "report.html"),
    "jobs": lambda things: ("--limit", len([things.job])),
    "show": lambda things: (things.done,),
    "events": lambda things: (things.done,),
    "cancel": lambda things: (things.job,),
    "retry": lambda things: (things.cancelled,),
    "clone": lambda things: (things.job,),
    "delete": lambda things: (things.cancelled,),
    "methods": lambda _: (),
    "doctor": lambda _: (),
    "migrate": lambda _: (),
    "gc": lambda _: (),
    "sweep submit": lambda _: JOB,
    "sweep list": lambda things: beside(things.sweep),
    "sweep watch": lambda things: (things.ended_sweep,),
    "sweep leaderboard": lambda things: (things.sweep,),
    "sweep best": lambda things: (things.ended_sweep,),
    "sweep cancel": lambda things: (things.sweep,),
    "datasets upload": lambda things: (things.rows,),
    "datasets list": lambda things: beside(things.dataset),
    "datasets remove": lambda things: (things.dataset,),
    "models list": lambda things: beside(things.model),
    "models versions": lambda things: (things.model,),
    "models publish": lambda things: ("publisher", things.done),
    "models withdraw": lambda things: (things.model, 1),
    "webhooks create": lambda _: ("https://example.com/hook",),
    "webhooks list": lambda things: beside(things.webhook),
    "webhooks deliveries": lambda things: (things.webhook, *beside(things.delivery)),
    "webhooks replay": lambda things: (things.webhook, things.delivery),
    "webhooks rotate": lambda things: (things.webhook,),
    "webhooks remove": lambda things: (things.webhook,),
    "keys create": lambda _: ("another",),
    "keys adopt": lambda things: ("adopted", things.secret_file),
    "keys list": lambda things: beside(things.key),
    "keys rotate": lambda things: (things.key,),
    "keys revoke": lambda things: (things.key,),
    "projects create": lambda _: (f"project-{next(NUMBER)}",),
    "projects list": lambda things: beside(things.project),
    "projects limits": lambda things: (things.project,),
    "workers list": lambda things: beside(things.worker_class),
    "workers processes": lambda _: (),
    "workers retire": lambda things: (things.worker_class,),
}

# Commands that print an array, as docs/how-to/command-line.md says; all others print an object.
LISTS = {"jobs", "events", "methods", "list", "versions", "deliveries", "processes"}


@pytest.fixture
def things(secateur, hand, engine, tmp_path):
    made = Things(secateur, hand, engine, tmp_path)
    yield made
    if "worker_class" in vars(made):
        secateur("workers", "retire", made.worker_class)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_answer_is_one_document(secateur, things, command):
    arguments = COMMANDS[command](things)
    ran = secateur(*command.split(), *arguments, "--json")
    assert ran.exit_code == 0, ran.output
    lists = command.split()[-1] in LISTS and command != "models list"  # two lists, by their names
    kind = list if lists else dict
    assert isinstance(json.loads(ran.stdout), kind)


def test_every_command_is_tried():
    leaves = dict(_walk(typer.main.get_command(app), ""))
    assert {name.strip() for name in leaves} == set(COMMANDS) | ELSEWHERE
    for name, command in leaves.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert ("--json" in options) is (name.strip() != "worker"), name  # it prints a log
