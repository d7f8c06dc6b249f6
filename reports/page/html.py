"""HTML elements; text is escaped unless it is `Markup`."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import TypeAlias


class Markup(str):
    """HTML that must not be escaped again."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | None"
VOID = frozenset({"br", "col", "hr", "meta"})  # elements without an end tag


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """Return an element. Attributes and children that are not `Markup` are escaped.

    A trailing underscore is removed (`class_`), other underscores become hyphens. A child None
    and an attribute None or False are omitted; True makes an attribute without value.
    """
    opening = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    if name in VOID:
        return Markup(opening)
    return Markup(f"{opening}{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Return the concatenated pieces; those that are not `Markup` are escaped, None is omitted."""
    pieces = (c if isinstance(c, Markup) else escape(str(c)) for c in children if c is not None)
    return Markup("".join(pieces))


def page(title: str, *content: Child) -> str:
    """Return a self-contained document with style and script.

    Its content security policy forbids all requests and all scripts except its own.
    """
    style, script = _resource("report.css"), _resource("report.js")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(style)),
    )
    body = tag("body", tag("main", *content), tag("script", Markup(script)))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def prose(text: str) -> Markup:
    """Return text with the parts between backticks as code."""
    pieces = text.split("`")
    marked = (tag("code", p) if i % 2 else join(p) for i, p in enumerate(pieces))
    return join(*marked)


def command(text: str) -> Markup:
    """Return a command for a terminal."""
    first, *options = text.split(" --")
    pieces = [first, *(f"--{option}" for option in options)]  # no line break within an option
    spans = Markup(" ".join(tag("span", piece) for piece in pieces))
    return tag("pre", tag("code", spans), class_="command")


def table(
    columns: Sequence[Markup],
    rows: Iterable[Sequence[Markup]],
    ids: Sequence[str] | None = None,
    **attributes: str,
) -> Markup:
    """Return a table in a scrolling box.

    Args:
        columns: headings from `column` or `number_column`.
        rows: cells from `cell` or `number`.
        ids: the candidate of each row, as in the tips of figures.
        attributes: attributes of the table.
    """
    head = tag("thead", tag("tr", *columns))
    lines = [
        tag("tr", *row, data_candidate=ids[index] if ids else None)
        for index, row in enumerate(rows)
    ]
    body = tag("tbody", *lines)
    return tag("div", tag("table", head, body, **attributes), class_="scroll", tabindex=0)


def column(text: str, title: str | None = None) -> Markup:
    """Return the heading of a column of text; `title` is its tooltip."""
    return tag("th", text, scope="col", title=title)


def number_column(text: str, title: str | None = None) -> Markup:
    """Return the heading of a column of numbers."""
    return tag("th", text, scope="col", title=title, class_="number")


def cell(text: Child, value: float | None = None, *, class_: str | None = None) -> Markup:
    """Return a cell of text; `value` is the sort key, by default the text."""
    return tag("td", text, data_value=value, class_=class_)


def number(text: str | None, value: float | None = None) -> Markup:
    """Return a cell with a number, empty for None."""
    return cell("" if text is None else text, value, class_="number")


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    own = "img-src data:; style-src 'unsafe-inline'"
    return f"default-src 'none'; {own}; script-src 'sha256-{digest}'"


@cache
def _resource(name: str) -> str:
    return files("reports.page").joinpath(name).read_text(encoding="utf-8")
