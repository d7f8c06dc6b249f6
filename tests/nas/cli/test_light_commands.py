"""Commands that only read files import no heavy package."""

import subprocess
import sys
from pathlib import Path

import pytest
from fake_search import FakeSearch
from fake_trials import make_data

HEAVY = ("torch", "pandas", "ray", "optuna", "fvcore", "matplotlib", "cv2", "scipy", "onnx")
SCRIPT = f"""
import sys
from nas.cli.main import run
code = run(sys.argv[1:])
heavy = [name for name in {HEAVY} if name in sys.modules]
sys.exit(f"imported {{heavy}}" if heavy else code)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an interrupted search of four candidates in `runs`."""
    root = tmp_path_factory.mktemp("light")
    search = FakeSearch(root / "runs", make_data(root / "data"))
    search.interrupt(lambda event: event.number == 3 and event.epoch == 2)
    (search.directory.trial_folder(1, 1) / "trial.log").write_text("epoch 1/3\n")
    return root


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("--version", "scrfd-nas 0."),
        ("--help", "audit-proxies"),
        ("stage1 --help", "--num-candidates"),
        ("status", "2/4 finished"),
        ("status --json", '"waiting": 2'),
        ("list", "stopped"),
        ("logs 1", "epoch 1/3"),
        ("flops scrfd_2.5g", "2.522G"),
        ("flops runs/search/stage1/0001 --json", '"total"'),
        ("zoo", "scrfd_34g"),
    ],
)
def test_a_command_that_reads_files_imports_nothing_heavy(
    command: str, expected: str, folder: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *command.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout
