"""Commands that share options: one function takes them all and makes one value of them."""

import inspect
from collections.abc import Callable
from typing import Any


def with_options_of(make: Callable[..., Any]) -> Callable[[Callable[..., None]], Any]:
    """Give a command all parameters of `make` in place of its first, which is what `make` returns.

    Args:
        make: its parameters are options and arguments as typer has them.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = inspect.signature(make).parameters
        _, *own = inspect.signature(command).parameters.values()

        def run(**given: Any) -> None:
            made = make(**{name: given.pop(name) for name in shared})
            command(made, **given)

        parameters = [*shared.values(), *(each.replace(kind=each.KEYWORD_ONLY) for each in own)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        return run

    return decorate
