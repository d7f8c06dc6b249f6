"""Command-line flags derived from options that dataclasses declare (`trials.options`).

A command whose only parameter is a dataclass of options gets one flag for each of them
(`with_flags`). A field made by `group` stands for a part of the options of another dataclass,
whose declarations are used again.
"""

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from trials.options import OPTION, Option, OptionField, option_field, option_fields

T = TypeVar("T")
_GROUP = "group"
_METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}  # typer's own are long


@dataclass(frozen=True, kw_only=True)
class Argument(Option):
    """Declaration of a positional argument."""


def argument(help: str, **declaration: Any) -> dict[str, Argument]:
    """Return metadata of a field with an `Argument`, whose other attributes are given by name."""
    return {OPTION: Argument(help=help, **declaration)}


@dataclass(frozen=True, kw_only=True)
class _Group:
    cls: type[Any]
    names: tuple[str, ...]
    defaults: Mapping[str, Any]


def group(cls: type[Any], *names: str, **defaults: Any) -> dict[str, _Group]:
    """Return metadata of a field of type `cls`, of which the command offers some options.

    Args:
        cls: dataclass that declares the options.
        names: the options offered; none: all.
        defaults: defaults that differ from those of `cls`.
    """
    every = tuple(item.name for item in option_fields(cls))
    return {_GROUP: _Group(cls=cls, names=names or every, defaults=defaults)}


def options_of(cls: type[Any]) -> list[OptionField]:
    """Return the options of a dataclass, those of its groups included."""
    declared = {item.name: item for item in option_fields(cls)}
    found: list[OptionField] = []
    for item in fields(cls):
        if item.name in declared:
            found.append(declared[item.name])
        elif _GROUP in item.metadata:
            chosen: _Group = item.metadata[_GROUP]
            found += [_offered(option_field(chosen.cls, name), chosen) for name in chosen.names]
    return found


def _offered(item: OptionField, chosen: _Group) -> OptionField:
    """Return an option of a group, under no panel of the help and with the group's default."""
    item = replace(item, option=replace(item.option, panel=""))
    if item.name not in chosen.defaults:
        return item
    option = replace(item.option, default_text="")
    return replace(item, option=option, default=chosen.defaults[item.name])


def build(cls: type[T], given: Mapping[str, Any]) -> T:
    """Return an instance of a dataclass of options from the values that were given, by name.

    Raises:
        ConfigError: a value breaks its declaration.
    """
    values: dict[str, Any] = {}
    for item in fields(cls):  # type: ignore[arg-type]
        chosen: _Group | None = item.metadata.get(_GROUP)
        if chosen:
            own = {name: given[name] for name in chosen.names if name in given}
            values[item.name] = chosen.cls(**{**chosen.defaults, **own})
        elif item.name in given:
            values[item.name] = given[item.name]
    return cls(**values)


def with_flags(run: Callable[[Any], None]) -> Callable[..., None]:
    """Return a command for typer with the flags of the dataclass that `run` takes."""
    (cls,) = [hint for name, hint in typing.get_type_hints(run).items() if name != "return"]

    def command(given: dict[str, Any]) -> None:
        run(build(cls, given))

    command.__doc__ = run.__doc__
    return declared(command, options_of(cls))


def declared(
    run: Callable[[dict[str, Any]], None], options: Iterable[OptionField]
) -> Callable[..., None]:
    """Return a command for typer that calls `run` with the options given, by name.

    Flags that were left out, and switches that are off, are not among them. The help is the
    docstring of `run`, with `options` in their order; those without a help text have no flag.
    """
    shown = {item.name: item for item in options if item.option.help}

    def command(**flags: Any) -> None:
        given = {k: v for k, v in flags.items() if v is not None and v is not False and v != []}
        run({key: parsed(shown[key].option, value) for key, value in given.items()})

    parameters = [parameter(item) for item in shown.values()]
    command.__doc__ = run.__doc__
    # typer reads both: the order and the defaults here, the types there.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    return command


def parsed(option: Option, value: Any) -> Any:
    """Return a value after the parser of its option, which applies to texts alone."""
    return option.parser(value) if option.parser and isinstance(value, str) else value


def parameter(item: OptionField) -> inspect.Parameter:
    """Return the parameter of a command that typer turns into the flag or argument."""
    kind = str if item.option.parser else item.kind
    is_required = item.default is MISSING
    default: Any = inspect.Parameter.empty if is_required else None
    if kind is bool:
        default = False
    return inspect.Parameter(
        item.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind if is_required or kind is bool else kind | None, _typer(item)],
    )


def flag(cls: type[Any], name: str) -> Any:
    """Return the typer declaration of an option of a dataclass, for use in `Annotated`."""
    item = option_field(cls, name)
    option = replace(item.option, panel="")
    return _typer(replace(item, option=option), parser=option.parser)


def _typer(item: OptionField, **more: Any) -> Any:
    """Return the typer declaration of an option."""
    option, default_text = item.option, item.default_text
    shown = f"{option.help} (default: {default_text})" if default_text else option.help
    choices = "" if item.kind is int else "|".join(option.choices)
    metavar = option.metavar or choices or _METAVARS.get(str if option.parser else item.kind)
    more |= {"help": shown, "metavar": metavar}
    if isinstance(option, Argument):
        return typer.Argument(**more)
    flags = option.flags or (f"--{item.name.replace('_', '-')}",)
    more |= {"rich_help_panel": option.panel or None, "show_default": False}
    limits = (option.minimum, None)
    if item.kind is int and option.choices:
        limits = (min(option.choices), max(option.choices))
    return typer.Option(*flags, min=limits[0], max=limits[1], **more)
