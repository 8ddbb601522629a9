"""Patterns of module names, as `targets` and `ignore` hold them.

`*`, `?` and `[...]` are as in fnmatch; a name is also its own pattern, brackets included. After
`re:` comes a regular expression that has to match from the name's beginning on, as in
llm-compressor; it is carried out by RE2, in time linear in the name.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

MOST = 100
MAX_LENGTH = 256
REGEX = "re:"
_REGEX_MEMORY = 1 << 20  # bytes
# Instructions of a compiled expression: each may be tried at each character. 256 plain characters
# have about as many, the letters of all scripts 1,200; repetitions multiply.
_REGEX_SIZE = 1500

Matches = Callable[[str], bool]


def _readable(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        if pattern.startswith(REGEX):  # anything else is a pattern of fnmatch
            matcher(pattern)
    return patterns


ModulePatterns = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=MAX_LENGTH)], ...],
    Field(max_length=MOST),
    AfterValidator(_readable),
]


class Patterns:
    """Several patterns, compiled once."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._matchers = {pattern: matcher(pattern) for pattern in patterns}

    def match(self, *names: str) -> bool:
        """Whether one of them matches one of the names."""
        return any(matches(name) for matches in self._matchers.values() for name in names)

    def unmatched(self, names: Iterable[str]) -> list[str]:
        """Those that match none of the names."""
        left = dict(self._matchers)
        for name in names:
            if not left:
                break
            for pattern in [pattern for pattern, matches in left.items() if matches(name)]:
                del left[pattern]
        return list(left)


_STEERING = re.compile(
    r"(?:^|\.)(?P<always>\w*router\w*|\w*expert_gate|indexer|\w+_coefs)(?=\.|$)"
    r"|(?:^|\.)(?P<experts>gate|gating|wg)(?=\.|$)"
)


def steering(name: str, *, experts: bool) -> str | None:
    """The part of a module's name that says it steers the model: a router, gate or indexer.

    Their few weights decide which experts, tokens or streams count at all: they are pruned where a
    target names them, and never by a pattern that is not about them.

    Args:
        name: of a module or tensor.
        experts: whether the model has experts; in other models a gate is a layer like any other.
    """
    for found in _STEERING.finditer(name):
        if found["always"] or experts:
            return found["always"] or found["experts"]
    return None


def names_steering(targets: Iterable[str], part: str) -> bool:
    """Whether a target is about the part of a name that `steering` has found."""
    words = re.compile(rf"(?<!\w){re.escape(part)}(?!\w)")
    return any(words.search(target) for target in targets)


def has_experts(names: Iterable[str]) -> bool:
    """Whether names of modules or tensors show a mixture of experts."""
    return any("experts" in name or "block_sparse_moe" in name for name in names)


def matcher(pattern: str) -> Matches:
    """The test that a pattern stands for.

    Raises:
        PydanticCustomError: it is no regular expression that RE2 takes.
    """
    if pattern.startswith(REGEX):
        return _regex(pattern.removeprefix(REGEX))
    # Each `*` of what fnmatch makes of a pattern is tried once, so nothing blows up.
    glob = re.compile(translate(pattern)).match
    if "[" not in pattern:
        return lambda name: glob(name) is not None
    # Our own names end in [q]: brackets may stand for themselves as well.
    literal = re.compile(translate(pattern.replace("[", "[[]"))).match
    return lambda name: glob(name) is not None or literal(name) is not None


def _regex(expression: str) -> Matches:
    import re2  # noqa: PLC0415  few requests have one

    options = re2.Options()
    options.max_mem = _REGEX_MEMORY
    options.log_errors = False
    try:
        compiled = re2.compile(expression, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise PydanticCustomError(
            "pattern_not_a_regex",
            "{pattern} is no regular expression that is understood: {reason}",
            {"pattern": REGEX + expression, "reason": str(reason)},
        ) from error
    if compiled.programsize > _REGEX_SIZE:
        raise PydanticCustomError(
            "pattern_not_a_regex",
            "{pattern} repeats too much: it has {size} steps; {most} are accepted",
            {"pattern": REGEX + expression, "size": compiled.programsize, "most": _REGEX_SIZE},
        )
    return lambda name: compiled.match(name) is not None
