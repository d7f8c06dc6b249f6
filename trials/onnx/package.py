"""The optional onnx package, imported only where it is needed."""

from typing import Any

from search_spaces.errors import ConfigError


def import_onnx() -> Any:
    """The `onnx` module.

    Raises:
        ConfigError: it is not installed; the message says how to get it.
    """
    return _import("onnx")


def import_onnxruntime() -> Any:
    """The `onnxruntime` module. Raises ConfigError as `import_onnx`."""
    return _import("onnxruntime")


def _import(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"this needs the package {name}, which is not installed: pip install 'scrfd-nas[onnx]'"
        ) from error
