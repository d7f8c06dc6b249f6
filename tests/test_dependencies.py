"""Packages that are needed: both ends of what is admitted are known, and tested."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Of those who develop: whatever is newest.
TOOLS = {"ruff", "mypy", "pandas-stubs", "types-PyYAML", "scipy-stubs", "moto", "pytest-xdist"}
TOOLS |= {"selenium"}


def needed() -> dict[str, Requirement]:
    """What users and tests need, by name."""
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    every = [Requirement(text) for text in PROJECT["dependencies"] + extras]
    return {item.name: item for item in every if item.name not in TOOLS}


def end(requirement: Requirement, operator: str) -> Version | None:
    found = [Version(s.version) for s in requirement.specifier if s.operator == operator]
    return found[0] if found else None


def test_the_lowest_versions_tested_are_those_that_are_admitted() -> None:
    lines = (ROOT / "tests" / "lowest.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    tested = {pin.name: end(pin, "==") for pin in pins}
    assert tested == {name: end(item, ">=") for name, item in needed().items()}


@pytest.mark.parametrize("name", sorted(needed()))
def test_the_version_here_lies_within_the_ends(name: str) -> None:
    requirement = needed()[name]
    assert end(requirement, "<") is not None
    try:
        here = version(name)
    except PackageNotFoundError:
        pytest.skip(f"{name} is not installed")
    assert requirement.specifier.contains(here, prereleases=True)
