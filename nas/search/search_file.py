"""`search.yaml`: a section for each stage of a search directory, and the number of the format."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.search.request import REQUESTS
from search_spaces.checks import require_mapping
from search_spaces.errors import ConfigError
from search_spaces.files import write_text
from search_spaces.yaml_files import dump_yaml, read_yaml

FORMAT = 1
SECTIONS = {f"stage{stage}": stage for stage in REQUESTS}


def read_sections(path: Path) -> dict[int, dict[str, Any]]:
    """Return the sections of the stages begun so far.

    Raises:
        ConfigError: the file is damaged or has another format.
    """
    content = require_mapping(read_yaml(path), str(path), ("format", *SECTIONS))
    check_format(content, str(path))
    for name in set(content) - {"format"}:
        if not isinstance(content[name], Mapping) or "request" not in content[name]:
            raise ConfigError(f"{path}: {name} lacks its request")
    return {SECTIONS[name]: dict(content[name]) for name in content if name != "format"}


def write_sections(path: Path, sections: Mapping[int, Mapping[str, Any]]) -> None:
    """Write the sections of the stages, by stage."""
    write_text(path, dump_yaml(file_content(sections)))


def file_content(sections: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the content of `search.yaml` as plain data."""
    return {"format": FORMAT, **{f"stage{s}": dict(sections[s]) for s in sorted(sections)}}


def check_format(content: Mapping[Any, Any], source: str) -> None:
    """Refuse the content of a file that has another format, or none. Raises ConfigError."""
    found = content.get("format")
    if found != FORMAT:
        raise ConfigError(
            f"{source}: has format {found!r}, and this version reads format {FORMAT}; continue "
            "with the version of scrfd-nas that wrote it, or start a new search directory"
        )
