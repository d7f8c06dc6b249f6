"""Values of a Python configuration file, computed without executing it.

mmdetection configurations are Python files of assignments. The text is parsed to a syntax
tree; literals, `dict(...)` calls, names assigned earlier, `**name` in a dict and arithmetic
are computed. Nothing is executed or imported.
"""

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.errors import ConfigError, shown
from search_spaces.files import read_text

MAX_NUMBER = 10**15
MAX_TEXT = 10_000
MAX_BASES = 10
_BASE = "_base_"
_ARITHMETIC: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
}


@dataclass(frozen=True, kw_only=True)
class _Unreadable:
    """A placeholder for a value that is not computed; an error only if it is needed."""

    reason: str


class _UnreadableError(Exception):
    """An expression is not of a supported kind."""


def read_assignments(text: str, source: str, wanted: str, folder: Path | None = None) -> Any:
    """Return the value that a configuration text assigns to the name `wanted`.

    A base (`_base_`) is merged as mmcv does it: dicts key by key, everything else replaced, and a
    dict with `_delete_=True` replaces that of the base. An expression or statement that is not
    supported is an error only if the wanted value depends on it.

    Args:
        text: Python source made of assignments.
        source: prefix of error messages.
        wanted: a name that is assigned at the top level.
        folder: folder of the text; bases must be files in it or below. None: bases are refused.

    Raises:
        ConfigError: the text is not Python, a base cannot be followed, `wanted` is not assigned,
            or its value would have to be executed.
    """
    values = _assigned(text, _File(source=source, folder=folder, root=folder))
    if wanted not in values:
        raise ConfigError(f"{source}: assigns no {wanted!r}")
    value = values[wanted]
    if isinstance(value, _Unreadable):
        raise ConfigError(f"{source}: {wanted} cannot be read without running it: {value.reason}")
    return value


@dataclass(frozen=True, kw_only=True)
class _File:
    """A configuration file: its name in messages, its folder, the folder that holds all bases."""

    source: str
    folder: Path | None
    root: Path | None
    depth: int = 0


def _assigned(text: str, file: _File) -> dict[str, Any]:
    """All top-level names of a text and of its bases."""
    values: dict[str, Any] = {}
    for statement in _statements(text, file.source):
        values |= _assignments(statement, values)
    bases = values.pop(_BASE, ())
    if isinstance(bases, _Unreadable):
        raise ConfigError(f"{file.source}: {_BASE} cannot be read: {bases.reason}")
    inherited: dict[str, Any] = {}
    for name in bases if isinstance(bases, list | tuple) else [bases]:
        found = _base_values(name, file)
        twice = sorted(set(found) & set(inherited))
        if twice:
            raise ConfigError(f"{file.source}: several bases assign {', '.join(twice)}")
        inherited |= found
    return _merged(inherited, values)


def _base_values(name: Any, file: _File) -> dict[str, Any]:
    """The names of one base. Raises ConfigError: it cannot be followed."""
    is_name = isinstance(name, str) and "\0" not in name
    if file.folder is None or file.root is None or not is_name:
        raise ConfigError(f"{file.source}: the base {shown(name)} cannot be followed")
    path = (file.folder / name).resolve()
    if not path.is_relative_to(file.root.resolve()):
        rule = f"the base {shown(name)} is outside of {file.root}"
        raise ConfigError(f"{file.source}: {rule}; copy it into that folder and adapt {_BASE}")
    if file.depth >= MAX_BASES:
        raise ConfigError(f"{file.source}: bases are nested more than {MAX_BASES} deep")
    base = _File(source=str(path), folder=path.parent, root=file.root, depth=file.depth + 1)
    return _assigned(read_text(path), base)


def _merged(base: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `own`; dicts are merged unless they hold `_delete_=True`."""
    result = dict(base)
    for key, value in own.items():
        inherited = base.get(key)
        if isinstance(value, dict):
            kept = {name: inner for name, inner in value.items() if name != "_delete_"}
            if isinstance(inherited, _Unreadable) and not value.get("_delete_"):
                continue
            replaces = value.get("_delete_") or not isinstance(inherited, dict)
            result[key] = kept if replaces else _merged(dict(inherited or {}), kept)
        else:
            result[key] = value
    return result


def _statements(text: str, source: str) -> list[ast.stmt]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of `'\\d'`
            return ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        where, reason = "", str(error)
        if isinstance(error, SyntaxError):
            where, reason = f" at line {error.lineno}", error.msg
        raise ConfigError(f"{source}: is not Python text{where}: {reason}") from error
    except (RecursionError, MemoryError) as error:
        raise ConfigError(f"{source}: is nested too deeply") from error


def _assignments(statement: ast.stmt, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the names that a statement assigns; unreadable where it is no plain assignment."""
    targets, expression = _plain_assignment(statement)
    if expression is not None:
        return dict.fromkeys(targets, _evaluated(expression, names))
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return {}  # a docstring
    reason = _Unreadable(reason=f"line {statement.lineno} is more than an assignment to it")
    if isinstance(statement, ast.Import | ast.ImportFrom):
        bound = [(alias.asname or alias.name).split(".")[0] for alias in statement.names]
    elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
        bound = [statement.name]
    else:  # it may change every name that occurs in it
        bound = [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return dict.fromkeys(bound, reason)


def _plain_assignment(statement: ast.stmt) -> tuple[list[str], ast.expr | None]:
    """Return names and expression of `a = b = expression` or `a: type = expression`."""
    targets: list[ast.expr]
    if isinstance(statement, ast.AnnAssign):
        targets, expression = [statement.target], statement.value
    elif isinstance(statement, ast.Assign):
        targets, expression = statement.targets, statement.value
    else:
        return [], None
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    return (names, expression) if len(names) == len(targets) else ([], None)


def _evaluated(expression: ast.expr, names: Mapping[str, Any]) -> Any:
    try:
        return _value(expression, names)
    except _UnreadableError as error:
        return _Unreadable(reason=str(error))
    except RecursionError:
        return _Unreadable(reason="nested too deeply")


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Return the value of an expression of a supported kind."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return _named(node, names)
    if isinstance(node, ast.List):
        return [_value(item, names) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item, names) for item in node.elts)
    if isinstance(node, ast.Dict):
        return _dictionary(list(zip(node.keys, node.values, strict=True)), names)
    if isinstance(node, ast.Call):
        return _call(node, names)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(_value(node.operand, names), node)
    if isinstance(node, ast.BinOp):
        return _arithmetic(node, names)
    raise _UnreadableError(f"line {node.lineno} holds a {type(node).__name__}")


def _named(node: ast.Name, names: Mapping[str, Any]) -> Any:
    value = names.get(node.id, _Unreadable(reason=f"{node.id} is not assigned before"))
    if isinstance(value, _Unreadable):
        raise _UnreadableError(f"line {node.lineno} uses {node.id}: {value.reason}")
    return value


def _call(node: ast.Call, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of a `dict(key=value, **other)` call, the only one supported."""
    if not isinstance(node.func, ast.Name) or node.func.id != "dict" or node.args:
        raise _UnreadableError(f"line {node.lineno} calls something other than dict(name=value)")
    return _dictionary([(word.arg, word.value) for word in node.keywords], names)


def _dictionary(pairs: list[tuple[Any, ast.expr]], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dict of pairs of a key (None for `**value`) and an expression."""
    result: dict[str, Any] = {}
    for key, expression in pairs:
        value = _value(expression, names)
        if key is None:
            if not isinstance(value, dict):
                raise _UnreadableError(f"line {expression.lineno} unpacks what is not a dict")
            result.update(value)
            continue
        name = _value(key, names) if isinstance(key, ast.expr) else key
        if not isinstance(name, str):
            raise _UnreadableError(f"line {expression.lineno} has a key that is not text")
        result[name] = value
    return result


def _arithmetic(node: ast.BinOp, names: Mapping[str, Any]) -> Any:
    left, right = _value(node.left, names), _value(node.right, names)
    if isinstance(left, str) and isinstance(right, str) and isinstance(node.op, ast.Add):
        if len(left) + len(right) > MAX_TEXT:
            raise _UnreadableError(f"line {node.lineno} makes a text of over {MAX_TEXT} letters")
        return left + right
    compute = _ARITHMETIC.get(type(node.op))
    if compute is None:
        raise _UnreadableError(f"line {node.lineno} computes more than + - * /")
    try:
        return _number(compute(_number(left, node), _number(right, node)), node)
    except ZeroDivisionError as error:
        raise _UnreadableError(f"line {node.lineno} divides by zero") from error


def _number(value: Any, node: ast.expr) -> Any:
    """Return `value` if it is a number of at most `MAX_NUMBER`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or abs(value) > MAX_NUMBER:
        raise _UnreadableError(f"line {node.lineno} computes with something else than numbers")
    return value
