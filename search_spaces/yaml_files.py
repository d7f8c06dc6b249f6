"""YAML files: parsed safely and strictly, written so that they read back the same.

PyYAML is imported on first use, because trials run without it.
"""

import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any

from search_spaces.errors import ConfigError, shown
from search_spaces.files import read_text

if TYPE_CHECKING:
    import yaml

MAX_NESTING = 32
# YAML 1.1, which PyYAML reads, takes `1e-2` for text because it has no point.
_EXPONENT = re.compile(r"^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9_]+)[eE][-+]?[0-9]+$")


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """Parse a YAML file.

    Raises:
        ConfigError: as `search_spaces.files.read_text` and `parse_yaml`.
    """
    return parse_yaml(read_text(path), str(path))


def parse_yaml(text: str, source: str) -> Any:
    """Parse YAML into plain data.

    Args:
        text: the YAML document.
        source: its file name, for error messages.

    Raises:
        ConfigError: not YAML, nested too deeply, with aliases (which can expand without bound),
            or with a key that occurs twice.
    """
    import yaml

    loader, _ = _classes()
    try:
        _check_events(yaml.parse(text, Loader=loader), source)
        return yaml.load(text, Loader=loader)  # noqa: S506  (a subclass of SafeLoader)
    except ConfigError:
        raise
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(f"{source}: is not valid YAML: {line}{error.problem}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigError(f"{source}: is not valid YAML: {' '.join(str(error).split())}") from error


def dump_yaml(value: Any) -> str:
    """Format plain data as YAML: keys in the given order, short lists on one line."""
    import yaml

    _, dumper = _classes()
    text = yaml.dump(value, Dumper=dumper, sort_keys=False, default_flow_style=None, width=100)
    return str(text)


def _check_events(events: Any, source: str) -> None:
    """Refuse aliases and deep nesting as soon as they occur; the rest is not parsed then."""
    import yaml

    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(f"{source}: YAML aliases are not accepted, write the value out")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_NESTING:
            line = event.start_mark.line + 1
            raise ConfigError(f"{source}: line {line}: is nested more than {MAX_NESTING} deep")


@cache
def _classes() -> "tuple[type[yaml.SafeLoader], type[yaml.SafeDumper]]":
    """Return a loader and a dumper that agree on which plain words are numbers."""
    import yaml

    # The parser in C is ten times as fast; some builds of PyYAML lack it.
    parser: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(parser):  # type: ignore[misc, valid-type]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                problem = f"the key {shown(twice)} occurs twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
            return dict(super().construct_mapping(node, deep))

    class Dumper(yaml.SafeDumper):
        pass

    for cls in (Loader, Dumper):
        cls.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))
    return Loader, Dumper
