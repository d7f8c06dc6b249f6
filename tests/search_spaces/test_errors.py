"""Lines of errors and values in messages."""

import pytest

from search_spaces.errors import counted, first_line, last_line, printable, shown


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("one", "one", "one"),
        ("\nTraceback:\n  line 1\nwhy\n", "Traceback:", "why"),
        (" \n ", "OSError", "OSError"),
        ("x" * 999 + "\n" + "y" * 999, "x" * 200, "y" * 200),
    ],
)
def test_lines_of_errors_are_not_empty_and_limited(text: str, first: str, last: str) -> None:
    assert (first_line(OSError(text)), last_line(OSError(text))) == (first, last)


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), ("a" * 78, f"'{'a' * 78}'"), ("a" * 79, f"'{'a' * 76}...")]
)
def test_shown_values_have_at_most_80_characters(value: object, text: str) -> None:
    assert shown(value) == text


def test_nouns_are_singular_for_one_alone() -> None:
    assert [counted(n, "trial") for n in (0, 1, 2000)] == ["0 trials", "1 trial", "2,000 trials"]
    assert counted(1, "search", "searches") == "1 search"
    assert counted(3, "search", "searches") == "3 searches"


def test_control_characters_are_shown_and_text_of_all_languages_stays() -> None:
    assert printable("a\x1b[31m\r\x9b2J\x7f") == r"a\x1b[31m\x0d\x9b2J\x7f"
    assert printable("[red] é 人\t\n") == "[red] é 人\t\n"
