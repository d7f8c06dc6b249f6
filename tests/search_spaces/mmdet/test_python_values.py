"""Values of Python configurations, computed without execution."""

import pytest

from search_spaces.errors import ConfigError
from search_spaces.mmdet.python_values import read_assignments


def read(text, wanted="model"):
    return read_assignments(text, "file.py", wanted)


def test_literals_dict_calls_names_and_arithmetic_are_computed():
    text = """
'''a docstring'''
factor = 8
root = 'data/' + 'faces/'
common = dict(mean=[127.5], flag=True)
model = dict(step=[55 * factor, 68*factor], third=1.0 / 4, path=root + 'x',
             pixels=dict(kind='N', **common), pair=(1, -2), table={'a': None})
"""
    assert read(text) == {
        "step": [440, 544],
        "third": 0.25,
        "path": "data/faces/x",
        "pixels": {"kind": "N", "mean": [127.5], "flag": True},
        "pair": (1, -2),
        "table": {"a": None},
    }


def test_the_last_assignment_is_used():
    assert read("model = 1\nmodel = 2") == 2


def test_unsupported_values_are_errors_only_where_they_are_used():
    assert read("gpus = range(0, 2)\nmodel = 1") == 1
    with pytest.raises(ConfigError, match="line 2 uses gpus: line 1 calls"):
        read("gpus = range(0, 2)\nmodel = dict(n=gpus)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = __import__('os').system('true')", "calls something other than dict"),
        ("model = open('/etc/passwd').read()", "calls something other than dict"),
        ("model = [x for x in (1, 2)]", "ListComp"),
        ("model = dict([('a', 1)])", "calls something other than dict"),
        ("model = lambda: 1", "Lambda"),
        ("model = f'{1}'", "JoinedStr"),
        ("model = other", "other is not assigned"),
        ("model = 2 ** 999999", "more than"),
        ("model = [0] * 10", "something else than numbers"),
        ("model = 'a' * 10", "something else than numbers"),
        ("model = 10**15 * 10**15", "more than"),
        ("model = 999999999999999 * 9", "numbers"),
        ("model = 1 / 0", "divides by zero"),
        ("model = {1: 2}", "key that is not text"),
        ("model = dict(**3)", "unpacks what is no dict"),
        ("other = 1", "assigns no 'model'"),
        ("", "assigns no 'model'"),
        ("import os\nmodel = 1", "line 1 is not an assignment"),
        ("model = 1\nmodel['x'] = 2", "line 2 is not an assignment"),
        ("model = 1\nprint(model)", "line 2 is not an assignment"),
        ("model = (", "is not Python text"),
        ("model = 1\0", "is not Python text"),
    ],
)
def test_unsupported_expressions_are_refused_with_their_line(text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(text)
    assert str(caught.value).startswith("file.py")
    assert "\n" not in str(caught.value)


def test_the_length_of_computed_text_is_limited():
    lines = ["a = 'xxxxxxxxxx'"] + ["a = a + a"] * 40 + ["model = a"]
    with pytest.raises(ConfigError, match="letters"):
        read("\n".join(lines))


def test_deep_nesting_is_refused():
    with pytest.raises(ConfigError, match=r"file\.py"):
        read("model = " + "[" * 5000 + "]" * 5000)
    with pytest.raises(ConfigError, match=r"file\.py"):
        read("model = " + "-" * 50000 + "1")
