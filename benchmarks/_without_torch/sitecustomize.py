"""Replacement of torch and torchvision by empty modules; Python imports this file at its start.

Workers whose trials do not train then need 112 MB each, so that 64 fit on a small machine.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Names(type):
    """A metaclass whose classes, and their instances, have every attribute, each such a class."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Names(name, (), dict(_CONTENT))


_CONTENT = {
    "__init__": lambda self, *args, **options: None,
    "__call__": lambda self, *args: args[0] if args else None,  # as a decorator
    "__getattr__": lambda self, name: getattr(type(self), name),
    "__class_getitem__": classmethod(lambda cls, item: cls),
}


class _Empty(ModuleType):
    __version__ = "0"

    def __getattr__(self, name):
        return getattr(_Names("root", (), {}), name)


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision"):
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Empty(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.insert(0, _Finder())
