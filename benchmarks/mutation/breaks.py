"""Small breaks of a module's source, each of which its tests should notice.

Own code, because neither library fits what is guarded here. mutmut 3 breaks function bodies only,
and none that is decorated: limits are module constants, fields and properties. cosmic-ray drops no
statement and replaces no return, and starts an interpreter for every break.

Left alone: decorators, annotations, docstrings, texts, what is logged, and `strict=` of `zip`.
"""

import ast
import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

COMPARISON, STATEMENT, CONSTANT = "comparison turned", "statement dropped", "constant moved"
BOOLEAN, ARITHMETIC, RETURN = "boolean inverted", "arithmetic changed", "return replaced"
PART = "part dropped"

_TURNED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_CHANGED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
_SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
# Calls whose arguments are conditions or columns of a statement: any of them can be missing.
_OF_PARTS = {"where", "filter", "and_", "or_", "values"}
_LOGS = {"logger", "log", "warnings"}


@dataclass(frozen=True, slots=True)
class Break:
    """One place of a module written differently.

    Attributes:
        kind: one of the constants above.
        where: the function or class it is in, dotted; empty at the module's own level.
        line: of the source, from 1.
        start, end: bytes of the source that are replaced.
        after: the text that is there instead.
        what: says it in one line.
        number: counts breaks that would have the same name, from 1.
    """

    kind: str
    where: str
    line: int
    start: int
    end: int
    after: str
    what: str
    number: int = 1

    @property
    def name(self) -> str:
        """Names the break whatever line it moves to."""
        name = f"{self.where or 'module'}: {self.kind}: {self.what}"
        return name if self.number == 1 else f"{name} ({self.number})"

    def applied(self, source: bytes) -> bytes:
        """The source with this break."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def breaks_of(source: bytes) -> list[Break]:
    """All breaks of a module, in the order of its text."""
    lines = source.splitlines(keepends=True)
    found = sorted(set(_Finder(source, lines).found(ast.parse(source))), key=_order)
    names: Counter[str] = Counter()
    numbered = []
    for each in found:
        names[each.name] += 1
        numbered.append(replace(each, number=names[each.name]))
    return numbered


def _order(each: Break) -> tuple[int, int, str, str]:
    return each.start, each.end, each.kind, each.after


def _short(text: str) -> str:
    return " ".join(text.split())


class _Finder:
    def __init__(self, source: bytes, lines: Sequence[bytes]) -> None:
        self._source = source
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))
        self._where: list[str] = []
        self._assigned: list[Counter[str]] = [Counter()]

    def found(self, node: ast.AST) -> Iterator[Break]:
        """Breaks of a node and of all below it."""
        named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._where.append(node.name)
            self._assigned.append(_names_assigned(node))
        for each in _own(node, self._assigned[-1]):
            yield self._break(*each)
        for child in _children(node):
            yield from self.found(child)
        if named:
            self._where.pop()
            self._assigned.pop()

    def _break(
        self, kind: str, place: ast.AST, after: str, dropped: ast.AST | None = None
    ) -> Break:
        start = self._starts[place.lineno - 1] + place.col_offset  # type: ignore[attr-defined]
        end = self._starts[place.end_lineno - 1] + place.end_col_offset  # type: ignore[attr-defined]
        before, line = self._source[start:end].decode(), place.lineno  # type: ignore[attr-defined]
        what = f"{before} -> {after}" if dropped is None else ast.unparse(dropped)
        what = what.removesuffix(" -> pass") if kind == STATEMENT else what
        return Break(kind, ".".join(self._where), line, start, end, after, _short(what))


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """What is below a node and can be broken."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _left_alone(child):
                yield child


def _left_alone(node: ast.AST) -> bool:
    if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom):
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in {"strict", "stacklevel"}
    return _is_log(node)


def _is_log(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    return ast.unparse(node.value.func).split(".")[0] in _LOGS


def _names_assigned(function: ast.AST) -> Counter[str]:
    """How often a function gives each name a value; its arguments count, globals count twice."""
    names: Counter[str] = Counter()
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names[node.id] += 1
        elif isinstance(node, ast.arg):
            names[node.arg] += 1
        elif isinstance(node, ast.Global | ast.Nonlocal):
            names.update(dict.fromkeys(node.names, 2))
    return names


_Found = Iterator[tuple[str, ast.AST, str] | tuple[str, ast.AST, str, ast.AST]]


def _own(node: ast.AST, assigned: Counter[str]) -> _Found:
    """Breaks of one node: kind, what is replaced, by what, and the part that is then missing."""
    if isinstance(node, ast.expr):
        return chain(_of_condition(node), _of_number(node), _of_call(node), _of_collection(node))
    if isinstance(node, ast.stmt):
        return chain(_of_statement(node, assigned), _conditions(node), _returns(node))
    return _conditions(node)


def _of_condition(node: ast.expr) -> _Found:
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                for turned in _TURNED[type(op)]:
                    other = copy.deepcopy(node)
                    other.ops[i] = turned()
                    yield COMPARISON, node, _text(other)
        case ast.BoolOp():
            other = copy.deepcopy(node)
            other.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
            yield BOOLEAN, node, _text(other)
            for i in range(len(node.values)):
                rest = [value for j, value in enumerate(node.values) if j != i]
                left = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
                yield PART, node, _text(left), node.values[i]
        case ast.UnaryOp(op=ast.Not()):
            yield BOOLEAN, node, _text(node.operand)
        case ast.IfExp() if not _has_breaks(node.test):
            yield BOOLEAN, node.test, _negated(node.test)


def _of_number(node: ast.expr) -> _Found:
    match node:
        case ast.Constant(value=bool()):
            yield BOOLEAN, node, repr(not node.value)
        case ast.Constant(value=int()):
            yield CONSTANT, node, str(node.value + 1)
            if node.value > 1:
                yield CONSTANT, node, str(node.value - 1)
        case ast.Constant(value=float()):
            yield CONSTANT, node, repr(node.value * 2 or 1.0)
        case ast.BinOp() if not _is_text(node.left) and not _is_text(node.right):
            if changed := _CHANGED.get(type(node.op)):
                other = copy.deepcopy(node)
                other.op = changed()
                yield ARITHMETIC, node, _text(other)


def _of_call(node: ast.expr) -> _Found:
    if not isinstance(node, ast.Call):
        return
    if isinstance(node.func, ast.Name) and node.func.id in _SWAPPED:
        yield ARITHMETIC, node.func, _SWAPPED[node.func.id]
    if ast.unparse(node.func).split(".")[-1] in _OF_PARTS:
        for i in range(len(node.args)):
            other = copy.deepcopy(node)
            dropped = other.args.pop(i)
            yield PART, node, ast.unparse(other), dropped
        for i in range(len(node.keywords)):
            other = copy.deepcopy(node)
            dropped_keyword = other.keywords.pop(i)
            yield PART, node, ast.unparse(other), dropped_keyword


def _of_collection(node: ast.expr) -> _Found:
    match node:
        case ast.Set(elts=elements) if len(elements) > 1:
            pass
        case ast.Tuple(elts=elements, ctx=ast.Load()) if len(elements) > 1:
            if not all(_is_text(each) or isinstance(each, ast.Attribute) for each in elements):
                return
        case ast.Dict() if len(node.keys) > 1:
            for i in range(len(node.keys)):
                other = copy.deepcopy(node)
                del other.keys[i]
                dropped = other.values.pop(i)
                yield PART, node, ast.unparse(other), node.keys[i] or dropped
            return
        case _:
            return
    for i in range(len(elements)):
        left = copy.deepcopy(node)
        dropped = left.elts.pop(i)
        yield PART, node, ast.unparse(left), dropped


def _of_statement(node: ast.stmt, assigned: Counter[str]) -> _Found:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield STATEMENT, node, "pass"
        case ast.Raise() | ast.Assert() | ast.Delete() | ast.Continue() | ast.Break():
            yield STATEMENT, node, "pass"
        case ast.AugAssign():
            yield STATEMENT, node, "pass"
            if (changed := _CHANGED.get(type(node.op))) and not _is_text(node.value):
                other = copy.deepcopy(node)
                other.op = changed()
                yield ARITHMETIC, node, ast.unparse(other)
        case ast.Assign(targets=[target]):
            names = [each for each in ast.walk(target) if isinstance(each, ast.Name)]
            stored = [each.id for each in names if isinstance(each.ctx, ast.Store)]
            # Without its only value a name does not exist, which every test would notice.
            if all(assigned[name] > 1 for name in stored):
                yield STATEMENT, node, "pass"


def _conditions(node: ast.AST) -> _Found:
    match node:
        case ast.If(test=test) | ast.While(test=test):
            tests = [test]
        case ast.comprehension(ifs=tests):
            pass
        case _:
            return
    for test in tests:
        if not _has_breaks(test):
            yield BOOLEAN, test, _negated(test)


def _returns(node: ast.stmt) -> _Found:
    """Of a function: what its returns give, and those in the middle of it that end it early."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        says_bool = node.returns is not None and ast.unparse(node.returns) == "bool"
        for each in _own_returns(node):
            if each is not node.body[-1]:
                yield STATEMENT, each, "pass"
            value = each.value
            if value is None or isinstance(value, ast.Constant):
                continue
            if not says_bool:
                yield RETURN, value, "None"
            elif not _has_breaks(value):
                yield RETURN, value, _negated(value)


def _own_returns(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.Return]:
    open_nodes: list[ast.AST] = list(function.body)
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, ast.Return):
            yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            open_nodes.extend(ast.iter_child_nodes(node))


def _has_breaks(test: ast.expr) -> bool:
    """Whether a condition turns when one of its own breaks is made."""
    negated = isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not)
    return negated or isinstance(test, ast.Compare | ast.BoolOp | ast.Constant)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
    )


def _text(node: ast.expr) -> str:
    return f"({ast.unparse(node)})"


def _negated(node: ast.expr) -> str:
    return f"(not ({ast.unparse(node)}))"
