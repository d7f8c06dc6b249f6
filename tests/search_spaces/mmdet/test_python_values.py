"""Values of Python configurations, computed without execution."""

import pytest

from search_spaces.errors import ConfigError
from search_spaces.mmdet.python_values import read_assignments


def read(text, wanted="model"):
    return read_assignments(text, "file.py", wanted)


def test_literals_dict_calls_last_assignments_and_arithmetic_are_computed():
    text = """
'''a docstring'''
factor = 7
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
        ("model = dict(**3)", "unpacks what is not a dict"),
        ("other = 1", "assigns no 'model'"),
        ("", "assigns no 'model'"),
        ("model = 1\nmodel['x'] = 2", "line 2 is more than an assignment"),
        ("model = 1\nprint(model)", "line 2 is more than an assignment"),
        ("import os\nmodel = os", "line 2 uses os: line 1 is more than"),
        ("for i in [1]:\n    model = i", "line 1 is more than"),
        ("_base_ = 'x.py'", "the base 'x.py' cannot be followed"),
        ("_base_ = f()", "_base_ cannot be read: line 1 calls"),
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


@pytest.mark.parametrize(
    "other",
    [
        "import os",
        "from a.b import c as d",
        "n: int = 3",
        "def f():\n    return model",
        "x[0] = 1",
        r"x = '\d'",
    ],
)
def test_statements_that_the_wanted_value_does_not_need_are_passed_over(other):
    assert read(f"{other}\nmodel: dict = dict(a=1)") == {"a": 1}


def test_bases_are_merged_key_by_key(tmp_path):
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "first.py").write_text("model = dict(a=1, b=dict(c=2, d=3), e=dict(f=4))")
    (tmp_path / "second.py").write_text("_base_ = ['below/first.py']\nmodel = dict(b=dict(c=5))")
    text = "_base_ = './second.py'\nmodel = dict(a=6, e=dict(_delete_=True, g=7))"
    found = read_assignments(text, "file.py", "model", tmp_path)
    assert found == {"a": 6, "b": {"c": 5, "d": 3}, "e": {"g": 7}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_base_ = '../x.py'", r"is outside of .*; copy it into that folder"),
        ("_base_ = '/etc/passwd'", "is outside of"),
        ("_base_ = 'absent.py'", r"absent\.py: cannot be read"),
        ("_base_ = 'itself.py'", "nested more than 10 deep"),
        ("_base_ = ['a.py', 'b.py']", "several bases assign x"),
        ("_base_ = 3", "the base 3 cannot be followed"),
        ("_base_ = None", "the base None cannot be followed"),
        ("_base_ = 'a\\0.py'", "cannot be followed"),
        ("_base_ = ['code.py']", "model cannot be read without running it"),
    ],
)
def test_a_base_that_cannot_be_followed_is_named(tmp_path, text, message):
    (tmp_path / "itself.py").write_text("_base_ = 'itself.py'")
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("x = 1")
    (tmp_path / "code.py").write_text("model = make()")
    with pytest.raises(ConfigError, match=message):
        read_assignments(f"{text}\nmodel = dict(a=1)", "file.py", "model", tmp_path)
