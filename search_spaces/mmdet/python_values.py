"""Values of a Python configuration file, computed without executing it.

mmdetection configurations are Python files of assignments. The text is parsed to a syntax
tree; literals, `dict(...)` calls, names assigned earlier, `**name` in a dict and arithmetic
are computed. Nothing is executed or imported.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from search_spaces.errors import ConfigError

MAX_NUMBER = 10**15
MAX_TEXT = 10_000
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


def read_assignments(text: str, source: str, wanted: str) -> Any:
    """Return the value that a configuration text assigns to the name `wanted`.

    An unsupported expression is an error only if the wanted value depends on it.

    Args:
        text: Python source made of assignments.
        source: prefix of error messages.
        wanted: a name that is assigned at the top level.

    Raises:
        ConfigError: the text is not Python, has statements other than assignments, does not
            assign `wanted`, or its value would have to be executed.
    """
    values: dict[str, Any] = {}
    for statement in _statements(text, source):
        target = _target(statement, source)
        if target is not None:
            name, expression = target
            values[name] = _evaluated(expression, values)
    if wanted not in values:
        raise ConfigError(f"{source}: assigns no {wanted!r}; bases (_base_) are not followed")
    value = values[wanted]
    if isinstance(value, _Unreadable):
        raise ConfigError(f"{source}: {wanted} cannot be read without running it: {value.reason}")
    return value


def _statements(text: str, source: str) -> list[ast.stmt]:
    try:
        return ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        where, reason = "", str(error)
        if isinstance(error, SyntaxError):
            where, reason = f" at line {error.lineno}", error.msg
        raise ConfigError(f"{source}: is not Python text{where}: {reason}") from error
    except (RecursionError, MemoryError) as error:
        raise ConfigError(f"{source}: is nested too deeply") from error


def _target(statement: ast.stmt, source: str) -> tuple[str, ast.expr] | None:
    """Return name and expression of an assignment; None for a docstring."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        if isinstance(target, ast.Name):
            return target.id, statement.value
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return None
    raise ConfigError(
        f"{source}: line {statement.lineno} is not an assignment to a name; only plain "
        "`name = value` lines are read, nothing is run"
    )


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
                raise _UnreadableError(f"line {expression.lineno} unpacks what is no dict")
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
