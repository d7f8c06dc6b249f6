"""The commands by name: their modules, and their groups and examples in the help."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer

# Heading -> command -> module below nas.cli and arguments of an example, in the help's order.
GUIDE = {
    "Search": {
        "demo": ("searches.demo", ""),
        "search": (
            "searches.search",
            "--flops 0.5G --data photos --max-gpu-hours 48 --out final",
        ),
        "plan": ("searches.plan", "--flops 2.5G --data data/retinaface --num-candidates 64"),
        "stage1": ("searches.stages", "--flops 2.5G --data data/retinaface"),
        "stage2": ("searches.stages", "--template best"),
        "stage-sr": ("searches.stages", "--template best"),
        "status": ("searches.status", "--watch"),
        "list": ("searches.manage", "runs"),
        "logs": ("searches.manage", "7 --follow"),
        "stop": ("searches.manage", "--search-dir runs/scrfdgen2.5g"),
        "resume": ("searches.manage", "--search-dir runs/scrfdgen2.5g"),
        "clean": ("searches.manage", "--dry-run"),
    },
    "Understand a search": {
        "report": ("searches.report", ""),
        "confirm": ("searches.confirm", "--top 5 --seeds 3"),
        "reproduce": ("searches.reproduce", "runs/scrfdgen2.5g/stage1/0007"),
        "compare": ("searches.report", "runs/one runs/other"),
        "simulate": ("searches.simulate", "--search-dir runs/scrfdgen2.5g --scheduler asha"),
        "audit-proxies": ("searches.proxies", "--search-dir runs/scrfdgen2.5g"),
    },
    "One network": {
        "flops": ("models.architecture", "scrfd_2.5g"),
        "zoo": ("models.architecture", ""),
        "propose": ("searches.propose", "--stage 1 --flops 2.5G --num 10 --out candidates"),
        "trial": ("models.trial", "scrfd_0.5g --data data/retinaface --out runs/trial"),
        "profile": ("models.profile", "scrfd_2.5g --data data/retinaface"),
        "train": ("models.train", "scrfd_2.5g --data data/retinaface --out runs/final"),
    },
    "Models": {
        "evaluate": ("models.evaluate", "runs/final/best.pt --data data/retinaface"),
        "detect": ("models.detect", "runs/final/best.pt photo.jpg"),
        "latency": ("models.latency", "scrfd_2.5g"),
        "export": ("models.convert", "runs/final/best.pt --out model.onnx"),
        "convert": ("models.convert", "scrfd_2.5g.pth --out model.pt"),
        "export-config": ("models.convert", "scrfd_2.5g --out scrfd_2.5g.py"),
        "import-config": ("models.convert", "configs/scrfd/scrfd_2.5g.py"),
    },
    "Data": {
        "data": ("models.data", "check data/retinaface"),
        "score": ("models.evaluate", "predictions --gt data/retinaface/val/gt"),
    },
}
_PLACES = {name: (panel, *place) for panel, named in GUIDE.items() for name, place in named.items()}
EPILOG = """Begin with `scrfd-nas demo`, a whole search in minutes on two cores.

Then run `scrfd-nas search --flops 2.5G --data DIR --max-gpu-hours 240`, or its steps one by one:
`stage1`, `stage2`, `confirm`, `train`, `export`.

`scrfd-nas stage1 --help` describes a command. Commands that print a table take --json.

Exit codes: 0 done, 1 an error that you can act on, 2 wrong usage, 75 ended by SIGTERM or
SIGHUP, 130 interrupted; the same command resumes a search or training that was ended."""


class Commands(Mapping[str, Any]):
    """The commands of `GUIDE` by name; the module of a command is imported when it is looked up."""

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)

    def __getitem__(self, name: str) -> Any:
        return _command(name, *_PLACES[name])


@cache
def _command(name: str, panel: str, module: str, arguments: str) -> Any:
    """Return click's command for a function that a module names in its `COMMANDS`."""
    function = import_module(f"nas.cli.{module}").COMMANDS[name]
    example = f"Example: scrfd-nas {name} {arguments}".rstrip()
    shown: dict[str, Any] = {"rich_help_panel": panel, "epilog": example}
    app = typer.Typer(callback=lambda: None)
    if isinstance(function, typer.Typer):
        app.add_typer(function, name=name, **shown)
    else:
        app.command(name, **shown)(function)
    group: Any = typer.main.get_command(app)
    command = group.commands[name]
    for each in (command, *getattr(command, "commands", {}).values()):
        each.help = reflowed(each.help or "")
    return command


def reflowed(text: str) -> str:
    """Return paragraphs without line breaks in them, which typer would keep."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))
