"""Make the pictures of README.md (`make pictures`; minutes, and Chromium must be installed).

The demo runs in the system's folder for temporary files. If it is finished there, only the picture
of the report is made again.
"""

import os
import re
import shutil
import subprocess
import tempfile
from io import StringIO
from pathlib import Path

import cv2
from rich.console import Console

from nas.cli.searches.report import write_page
from nas.demo import demo_search
from nas.monitoring.block import Block
from nas.monitoring.progress import Showable
from nas.monitoring.status import StageStatus
from nas.stage import RunOptions
from nas.whole_search import run_stages

IMAGES = Path(__file__).resolve().parent / "images"
FOLDER = Path(tempfile.gettempdir(), "scrfd-nas-pictures")
SEARCH = Path("runs/demo")  # as the commands in the report name it
FINISHED = 2  # of stage 2, in the picture of the terminal
COLUMNS, LINES = 80, 10  # of the terminal above the block
WINDOW, SCALE = (1200, 860), 1.5  # CSS pixels, and pixels of the picture for each


class PicturedDisplay:
    """Display of a search that prints the lines, and draws the terminal in mid-search."""

    def __init__(self, picture: Path) -> None:
        self._picture = picture
        self._lines: list[str] = []
        self._evaluated = 0

    def log(self, text: str) -> None:
        """See `nas.monitoring.progress.Display`."""
        self._lines.append(text)
        print(text, flush=True)

    def show(self, status: Showable) -> None:
        """Draw the status, in place of an earlier one, unless that had more trials with an AP."""
        if not isinstance(status, StageStatus) or status.stage != 2 or status.finished != FINISHED:
            return
        evaluated = sum(trial.hard is not None for trial in status.trials)
        if evaluated >= self._evaluated:
            self._evaluated = evaluated
            self._picture.write_text(terminal_picture(self._lines, status), "utf-8")


def terminal_picture(lines: list[str], status: StageStatus) -> str:
    """Return an SVG of a terminal with the last `lines` and the block of `status` below them."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    for line in lines[-LINES:]:
        console.print(line, markup=False, highlight=False)
    console.print(Block(status=status))
    svg = console.export_svg(title="scrfd-nas demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # fonts of another server


def report_picture(page: Path, picture: Path) -> None:
    """Write the top of a report as an image."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, "shot.png")
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--screenshot={shot}"]
        options += [f"--force-device-scale-factor={SCALE}", "--window-size={},{}".format(*WINDOW)]
        browser = shutil.which("chromium") or "google-chrome"
        subprocess.run(
            [browser, *options, page.resolve().as_uri()], check=True, capture_output=True
        )
        image = cv2.imread(str(shot))
    cv2.imwrite(str(picture), image, [cv2.IMWRITE_WEBP_QUALITY, 101])  # above 100: lossless


def main() -> None:
    """Run the demo and make both pictures."""
    FOLDER.mkdir(exist_ok=True)
    os.chdir(FOLDER)
    display = PicturedDisplay(IMAGES / "terminal.svg")
    search = demo_search(SEARCH, display)
    run_stages(search, RunOptions(), display)
    report_picture(write_page(search.directory)[0], IMAGES / "report.webp")


if __name__ == "__main__":
    main()
