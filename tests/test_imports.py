"""The house's one chain: search_spaces <- trials <- reports <- nas."""

import ast
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CHAIN = ("search_spaces", "trials", "reports", "nas")
ONLY_NAS = {"ray", "optuna", "typer", "rich", "fvcore"}
ONLY_REPORTS_AND_NAS = {"pandas", "matplotlib"}
NEVER = {"PIL", "mmcv", "mmdet"}
LIGHT = {"torch", "torchvision", "numpy", "scipy", "cv2"}


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
        ("search_spaces", "from trials.training.losses import f", ["trials"]),
        ("trials", "def f():\n    import nas.study.study", ["nas"]),
        ("reports", "import ray", ["ray"]),
        ("trials", "def f():\n    import optuna", ["optuna"]),
        ("search_spaces", "import yaml", ["yaml"]),
        ("search_spaces", "def f():\n    import yaml", []),
        ("trials", "class A:\n    import onnx", ["onnx"]),
        ("trials", "try:\n    import onnx\nexcept ImportError:\n    pass", ["onnx"]),
        ("trials", "def f():\n    import pandas", ["pandas"]),
        ("trials", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import yaml", []),
        ("nas", "import mmcv", ["mmcv"]),
        ("nas", "import ray, typer\nfrom reports import leaderboard", []),
        ("trials", "import torch, numpy.random\nfrom cv2 import resize\nimport search_spaces", []),
    ],
)
def test_the_rules_catch(package, source, expected):
    assert faults(package, source) == expected


# The rooms of each package from left to right; a room imports only rooms to its left. The names
# on one line of a tuple are modules that stand directly in the package.
ROOMS = {
    "search_spaces": [
        ("errors", "files", "yaml_files", "checks", "randomness", "architecture"),
        "cost",
        "zoo",
        "spaces",
        "network",
        "mmdet",
    ],
    "trials": [
        ("options", "result", "recipe", "settings", "device", "failure"),
        ("fingerprint", "trial", "lock"),
        ("model_file",),
        "data",
        "augmentation",
        "loading",
        "detection",
        "onnx",
        "evaluation",
        "training",
        "proxies",
        ("candidate", "convert", "run"),
    ],
    "reports": ["statistics", ("costs", "curves", "leaderboard", "search_data"), "figures", "page"],
    "nas": [
        "storage",
        "early_stopping",
        "search",
        "study",
        "monitoring",
        "candidates",
        "strategies",
        "recording",
        "running",
        ("resolve_request", "run_options"),
        "limited_candidates",
        "stage_candidates",
        "stage",
        "planning",
        "results",
        ("whole_search", "demo"),
        "cli",
        "__main__",
    ],
}
MOST_MODULES = 13  # in one folder


def modules():
    """The project's modules by dotted name."""
    names = {}
    for package in CHAIN:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports_of(path, known):
    """The project's modules that a file imports, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name:
                yield name


def position(module):
    """Where a module's room stands in its package; None for the package itself."""
    package, *inside = module.split(".")
    if not inside:
        return None
    for place, rooms in enumerate(ROOMS[package]):
        if inside[0] in ((rooms,) if isinstance(rooms, str) else rooms):
            return place
    raise AssertionError(f"{module}: its room is not listed in ROOMS")


def upward(edges):
    """The pairs of modules of one package in which the first imports from a room to its right."""
    pairs = []
    for module, others in edges.items():
        for other in others:
            if module.split(".")[0] != other.split(".")[0]:
                continue
            places = position(module), position(other)
            if None not in places and places[1] > places[0]:
                pairs.append(f"{module} -> {other}")
    return pairs


def cycle(edges):
    """One cycle among the modules as a list that begins and ends with the same one, or []."""
    done, path = set(), []

    def visit(module):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        for other in sorted(edges.get(module, ())):
            if found := visit(other):
                return found
        done.add(path.pop())
        return []

    return next(filter(None, map(visit, sorted(edges))), [])


def project_edges():
    known = modules()
    return {name: {o for o in imports_of(p, known) if o != name} for name, p in known.items()}


def test_rooms_import_from_their_left_only():
    assert upward(project_edges()) == []


def test_no_module_imports_itself_through_others():
    assert " -> ".join(cycle(project_edges())) == ""


def test_no_folder_imports_itself_through_others():
    known = modules()

    def folder(name):
        is_module = known[name].name != "__init__.py"
        return name.rpartition(".")[0] if is_module and name.count(".") > 1 else name

    folders = {}
    for name, others in project_edges().items():
        inner = {folder(other) for other in others} - {folder(name)}
        folders.setdefault(folder(name), set()).update(inner)
    assert " -> ".join(cycle(folders)) == ""


def test_a_cycle_and_an_upward_import_are_named():
    edges = {"nas.storage.a": {"nas.cli.b"}, "nas.cli.b": {"nas.storage.a"}}
    assert upward(edges) == ["nas.storage.a -> nas.cli.b"]
    assert cycle(edges) == ["nas.cli.b", "nas.storage.a", "nas.cli.b"]


def test_folders_hold_few_modules():
    crowds = Counter(str(p.parent.relative_to(ROOT)) for p in modules().values())
    crowds = {folder: n - 1 for folder, n in crowds.items() if n - 1 > MOST_MODULES}
    assert crowds == {}
