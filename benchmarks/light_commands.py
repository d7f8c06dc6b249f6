"""CPU seconds of the commands that only read files, against the same with heavy imports.

Each command runs in a process of its own; user and system time of that process. The baseline
imports torch, pandas, Ray and Optuna first, as a command does that trains. `--search-dir` names
a search for `status`, `list` and `logs`.
"""

import os
import statistics
import subprocess
import sys
from pathlib import Path

import _common as common

COMMANDS = ["--version", "--help", "zoo", "flops scrfd_2.5g"]
OF_SEARCH = ["status --search-dir {0}", "list {0}/..", "logs 1 --search-dir {0}"]
HEAVY = "import torch, pandas, optuna, ray.tune"


def cpu_seconds(command: str, first: str = "") -> float:
    """Return user and system seconds of a process that runs `first`, then a command."""
    script = f"{first}\nfrom nas.cli.main import main\nmain({command.split()!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).resolve().parents[1],
        stdout=subprocess.DEVNULL,
    )
    _, code, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise SystemExit(f"{command}: exit code {process.returncode}")
    return used.ru_utime + used.ru_stime


def main(argv: list[str] | None = None) -> None:
    parser = common.arguments(__doc__, ("--search-dir", {"type": Path}))
    args = parser.parse_args(argv)
    commands = COMMANDS[:1] if args.quick else COMMANDS
    if args.search_dir is not None:
        commands = [*commands, *(c.format(args.search_dir.resolve()) for c in OF_SEARCH)]
    for command in commands:
        rounds, heavy_first = (1, "import numpy") if args.quick else (args.rounds, HEAVY)
        pairs = [(cpu_seconds(command), cpu_seconds(command, heavy_first)) for _ in range(rounds)]
        ours, heavy = (statistics.median(side) for side in zip(*pairs, strict=True))
        name = command.split(" /")[0]
        common.show(name, ours)
        common.show(f"{name}, with heavy imports", heavy)
        common.verdict(name, heavy / ours)


if __name__ == "__main__":
    main()
