"""Entry point of the `secateur` command."""

import typer

from app.cli.keys import keys
from app.cli.up import up

app = typer.Typer(
    name="secateur",
    help="Pruning as a service for vision-language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(up)
app.add_typer(keys, name="keys")
