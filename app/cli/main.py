"""Entry point of the `secateur` command."""

import typer

from app.cli.demo import demo
from app.cli.download import download
from app.cli.keys import keys
from app.cli.submit import submit
from app.cli.up import up
from app.cli.watch import watch

app = typer.Typer(
    name="secateur",
    help="Pruning as a service for vision-language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (up, demo, submit, watch, download):
    app.command()(command)
app.add_typer(keys, name="keys")
