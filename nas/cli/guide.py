"""Presentation of the commands in the help: in groups, each with an example."""

from typing import Any

import typer

# Heading -> command -> example, in the order of the help.
GUIDE = {
    "Search": {
        "demo": "scrfd-nas demo",
        "plan": "scrfd-nas plan --flops 2.5G --data data/retinaface --num-candidates 64",
        "stage1": "scrfd-nas stage1 --flops 2.5G --data data/retinaface",
        "stage2": "scrfd-nas stage2 --template best",
        "stage-sr": "scrfd-nas stage-sr --template best",
        "status": "scrfd-nas status",
        "list": "scrfd-nas list runs",
        "logs": "scrfd-nas logs 7 --follow",
        "stop": "scrfd-nas stop --search-dir runs/scrfdgen2.5g",
        "resume": "scrfd-nas resume --search-dir runs/scrfdgen2.5g",
        "clean": "scrfd-nas clean --dry-run",
    },
    "Understand a search": {
        "report": "scrfd-nas report",
        "confirm": "scrfd-nas confirm --top 5 --seeds 3",
        "reproduce": "scrfd-nas reproduce runs/scrfdgen2.5g/stage1/0007",
        "compare": "scrfd-nas compare runs/one runs/other",
        "simulate": "scrfd-nas simulate --search-dir runs/scrfdgen2.5g --scheduler asha",
        "audit-proxies": "scrfd-nas audit-proxies --search-dir runs/scrfdgen2.5g",
    },
    "One network": {
        "flops": "scrfd-nas flops scrfd_2.5g",
        "zoo": "scrfd-nas zoo",
        "propose": "scrfd-nas propose --stage 1 --flops 2.5G --num 10 --out candidates",
        "trial": "scrfd-nas trial scrfd_0.5g --data data/retinaface --out runs/trial",
        "profile": "scrfd-nas profile scrfd_2.5g --data data/retinaface",
        "train": "scrfd-nas train scrfd_2.5g --data data/retinaface --out runs/final",
    },
    "Models": {
        "evaluate": "scrfd-nas evaluate runs/final/best.pt --data data/retinaface",
        "detect": "scrfd-nas detect runs/final/best.pt photo.jpg",
        "latency": "scrfd-nas latency scrfd_2.5g",
        "export": "scrfd-nas export runs/final/best.pt --out model.onnx",
        "convert": "scrfd-nas convert scrfd_2.5g.pth --out model.pt",
        "export-config": "scrfd-nas export-config scrfd_2.5g --out scrfd_2.5g.py",
        "import-config": "scrfd-nas import-config configs/scrfd/scrfd_2.5g.py",
    },
    "Data": {
        "data": "scrfd-nas data check data/retinaface",
        "score": "scrfd-nas score predictions --gt data/retinaface/val/gt",
    },
}
EPILOG = """Begin with `scrfd-nas demo`, a whole search in six minutes on two cores.

Then run `scrfd-nas stage1 --flops 2.5G --data DIR`, `scrfd-nas stage2`, `scrfd-nas report`.

`scrfd-nas stage1 --help` describes a command. Commands that print a table take --json.

Exit codes: 0 done, 1 an error that you can act on, 2 wrong usage, 75 ended by SIGTERM, 130
interrupted; the same command resumes a search or training that was ended."""


def present(app: typer.Typer) -> None:
    """Sort and group the commands of an app as in `GUIDE`, and add their examples."""
    places = {
        name: (order, panel, example)
        for order, (name, panel, example) in enumerate(
            (name, panel, example)
            for panel, commands in GUIDE.items()
            for name, example in commands.items()
        )
    }
    items: list[Any] = [*app.registered_commands, *app.registered_groups]
    for item in items:
        _, panel, example = places[str(item.name)]
        item.rich_help_panel, item.epilog = panel, f"Example: {example}"
    app.registered_commands.sort(key=lambda item: places[str(item.name)][0])
