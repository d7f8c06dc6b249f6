"""Declaration of options as fields of frozen dataclasses.

A field whose metadata holds an `Option` under the key `OPTION` is an option of commands and
files. The declaration states all that is needed to offer the option and to check its value.
"""

import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from types import UnionType
from typing import Any

from search_spaces.checks import require_integer, require_number
from search_spaces.errors import ConfigError

OPTION = "option"  # key of a field's metadata


@dataclass(frozen=True, kw_only=True)
class Option:
    """Declaration of one option.

    Attributes:
        help: one sentence that says what the option sets.
        default_text: the default as the help shows it; empty: the default of the field.
        flags: flags of the command line; empty: the name of the field.
        minimum, maximum: limits of a number.
        choices: all values that a text or an integer may have.
        metavar: placeholder of the value in the help; empty: the choices or the type.
        panel: heading of the help that the option is listed under.
        parser: converts the text of a flag or a file into the value.
    """

    help: str = ""
    default_text: str = ""
    flags: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Any, ...] = ()
    metavar: str | None = None
    panel: str = ""
    parser: Callable[[str], Any] | None = None


def option(help: str = "", **declaration: Any) -> dict[str, Option]:
    """Return metadata of a field with an `Option`, whose other attributes are given by name."""
    return {OPTION: Option(help=help, **declaration)}


def declared(default: Any, help: str = "", **declaration: Any) -> Any:
    """Return a dataclass field with a default and an `Option`, as `option` declares it."""
    return field(default=default, metadata=option(help, **declaration))


@dataclass(frozen=True, kw_only=True)
class OptionField:
    """A field of a dataclass that declares an option.

    Attributes:
        name: name of the field.
        kind: type of the field without None.
        is_optional: whether None is a value of the field.
        default: default value of the field; None for that of a factory, `dataclasses.MISSING`
            for none.
        option: the declaration, an `Option` or an object of a subclass.
    """

    name: str
    kind: Any
    is_optional: bool
    default: Any
    option: Any

    @property
    def default_text(self) -> str:
        """The default as the help shows it; empty if there is nothing to show."""
        has_none = self.default in (MISSING, None) or isinstance(self.default, bool)
        return self.option.default_text or ("" if has_none else str(self.default))


def option_fields(cls: type[Any]) -> tuple[OptionField, ...]:
    """Return the options that a dataclass declares, in the order of its fields."""
    hints = typing.get_type_hints(cls)
    return tuple(
        OptionField(
            name=item.name,
            kind=_without_none(hints[item.name]),
            is_optional=type(None) in typing.get_args(hints[item.name]),
            default=item.default if item.default_factory is MISSING else None,
            option=item.metadata[OPTION],
        )
        for item in fields(cls)
        if OPTION in item.metadata
    )


def option_field(cls: type[Any], name: str) -> OptionField:
    """Return the option that a dataclass declares under a name."""
    return next(item for item in option_fields(cls) if item.name == name)


def check_options(instance: Any) -> None:
    """Check the values of a dataclass instance by the choices and limits that it declares.

    Integers of numpy are accepted, and stored as `int`.

    Raises:
        ConfigError: a value breaks its declaration.
    """
    for item in option_fields(type(instance)):
        name, option, value = item.name, item.option, getattr(instance, item.name)
        if value is None and item.is_optional:
            continue
        if option.choices and value not in option.choices:
            raise ConfigError(f"{name} must be one of {option.choices}, got {value!r}")
        if option.minimum is None:
            continue
        limits = option.minimum, option.maximum
        if item.kind is int:
            checked = require_integer(value, name, *limits)
            object.__setattr__(instance, name, checked)
        else:
            require_number(value, name, *(limit for limit in limits if limit is not None))


def _without_none(hint: Any) -> Any:
    """Return X for the type hint `X | None`, else the hint itself."""
    if typing.get_origin(hint) not in (UnionType, typing.Union):
        return hint
    return next(each for each in typing.get_args(hint) if each is not type(None))
