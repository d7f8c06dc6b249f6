"""Figures of the reference's models, by the names of the zoo."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FILES = {
    "scrfd_0.5g": "scrfd_500m",
    "scrfd_0.5g_kps": "scrfd_500m_bnkps",
    "scrfd_2.5g_kps": "scrfd_2.5g_bnkps",
    "scrfd_10g_kps": "scrfd_10g_bnkps",
    "resnet_2.5g": "base_2.5g",
    "resnet_10g": "base_10g",
    "resnet_34g": "base_34g",
    "mobilenet_0.5g": "base_500m",
    "mobilenet_1g": "base_1g",
}


@pytest.fixture(scope="session")
def reference_model(golden_dir: Path) -> Callable[[str], Any]:
    """Return a function that reads the parameters, FLOPs and state dict of a reference model."""

    def read(name: str) -> Any:
        return json.loads((golden_dir / f"model_{FILES.get(name, name)}.json").read_text())

    return read
