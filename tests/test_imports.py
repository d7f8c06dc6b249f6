"""The house's one chain: search_spaces <- trials <- reports <- nas."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHAIN = ("search_spaces", "trials", "reports", "nas")
ONLY_NAS = {"ray", "optuna", "typer", "rich", "fvcore"}
ONLY_REPORTS_AND_NAS = {"pandas", "matplotlib"}
NEVER = {"cv2", "mmcv", "mmdet"}
LIGHT = {"torch", "torchvision", "numpy", "scipy", "PIL"}


def imported(nodes):
    """Top-level packages that import statements among `nodes` name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def run_at_import(tree):
    """All nodes but the bodies of functions and what only a type checker reads."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from run_at_import(node)


def faults(package, source):
    """What the source of a file of `package` imports against the rules."""
    tree = ast.parse(source)
    everywhere = set(imported(ast.walk(tree)))
    at_import = set(imported(run_at_import(tree)))
    forbidden = set(CHAIN[CHAIN.index(package) + 1 :]) | NEVER
    if package != "nas":
        forbidden |= ONLY_NAS
    if package in ("search_spaces", "trials"):
        forbidden |= ONLY_REPORTS_AND_NAS
        allowed = sys.stdlib_module_names | LIGHT | set(CHAIN)
        heavy = at_import - allowed
    else:
        heavy = set()
    return sorted(everywhere & forbidden | heavy)


def files():
    for package in CHAIN:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield pytest.param(package, path, id=str(path.relative_to(ROOT)))


@pytest.mark.parametrize(("package", "path"), list(files()))
def test_imports_point_to_the_left_only(package, path):
    assert faults(package, path.read_text(encoding="utf-8")) == []


def test_every_package_has_files():
    assert {path.values[0] for path in files()} == set(CHAIN)


@pytest.mark.parametrize(
    ("package", "source", "expected"),
    [
        ("search_spaces", "from trials.losses import f", ["trials"]),
        ("trials", "def f():\n    import nas.study", ["nas"]),
        ("reports", "import ray", ["ray"]),
        ("trials", "def f():\n    import optuna", ["optuna"]),
        ("search_spaces", "import yaml", ["yaml"]),
        ("search_spaces", "def f():\n    import yaml", []),
        ("trials", "class A:\n    import onnx", ["onnx"]),
        ("trials", "try:\n    import onnx\nexcept ImportError:\n    pass", ["onnx"]),
        ("trials", "def f():\n    import pandas", ["pandas"]),
        ("trials", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import yaml", []),
        ("nas", "import cv2", ["cv2"]),
        ("nas", "import ray, typer\nfrom reports import leaderboard", []),
        ("trials", "import torch, numpy.random\nfrom PIL import Image\nimport search_spaces", []),
    ],
)
def test_the_rules_catch(package, source, expected):
    assert faults(package, source) == expected
