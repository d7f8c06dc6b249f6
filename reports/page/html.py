"""HTML that cannot be broken by what it shows: text is escaped unless it was built here."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import TypeAlias


class Markup(str):
    """HTML, not to be escaped again."""

    __slots__ = ()


Child: TypeAlias = "str | int | float | None"
VOID = frozenset({"br", "col", "hr", "meta"})  # elements without an end tag


def tag(name: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Markup:
    """An element. Children that are not `Markup` are escaped, as are attributes.

    `class_` and `for_` stand for the reserved words, other underscores for hyphens. None leaves
    out a child or an attribute, as does False; True makes an attribute without value.
    """
    opening = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}>"
    if name in VOID:
        return Markup(opening)
    return Markup(f"{opening}{join(*children)}</{name}>")


def join(*children: Child) -> Markup:
    """Pieces one after the other; what is not `Markup` is escaped, None left out."""
    pieces = (c if isinstance(c, Markup) else escape(str(c)) for c in children if c is not None)
    return Markup("".join(pieces))


def page(title: str, *content: Child) -> str:
    """A whole document with its style and script inside.

    Its policy forbids everything that is not in the document: no request is ever made, and
    no script runs but the one below.
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
    """Text for a reader; what stands between backticks becomes code."""
    pieces = text.split("`")
    marked = (tag("code", p) if i % 2 else join(p) for i, p in enumerate(pieces))
    return join(*marked)


def table(columns: Sequence[Markup], rows: Iterable[Sequence[Markup]], **attributes: str) -> Markup:
    """A table in a box that scrolls by itself.

    Columns are of `column` or `number_column`, the cells of a row of `cell` or `number`.
    """
    head = tag("thead", tag("tr", *columns))
    body = tag("tbody", *(tag("tr", *row) for row in rows))
    return tag("div", tag("table", head, body, **attributes), class_="scroll", tabindex=0)


def column(text: str, title: str | None = None) -> Markup:
    """The heading of a column of text; `title` explains it."""
    return tag("th", text, scope="col", title=title)


def number_column(text: str, title: str | None = None) -> Markup:
    """The heading of a column of numbers."""
    return tag("th", text, scope="col", title=title, class_="number")


def cell(text: Child, value: float | None = None, *, class_: str | None = None) -> Markup:
    """A cell of text; `value` is what it is sorted by, if not its text."""
    return tag("td", text, data_value=value, class_=class_)


def number(text: str | None, value: float | None = None) -> Markup:
    """A cell with a number; None is missing."""
    return cell("" if text is None else text, value, class_="number")


def _attribute(key: str, value: object) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


@cache
def _resource(name: str) -> str:
    return files("reports.page").joinpath(name).read_text(encoding="utf-8")
