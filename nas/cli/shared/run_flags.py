"""Options about one run of a command, which are no part of a search's request."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.shared import paths
from nas.cli.shared.flags import flag
from nas.search.options import MACHINE, NETWORKS, SEARCH_METAVAR, stage_option
from trials.options import OptionField, option_fields

if TYPE_CHECKING:
    from nas.search.directory import SearchDir


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """Options about one run of a stage.

    All but `config`, `dry_run` and `as_json` may also be given by a `--config` file.
    """

    search_dir: Path | None = field(
        default=None,
        metadata=stage_option(
            "Search directory: a folder, or a URL such as s3://BUCKET/RUN.",
            default_text="runs/scrfdgen<FLOPS>, or the only one in runs",
            parser=paths.search,
            metavar=SEARCH_METAVAR,
            panel=MACHINE,
        ),
    )
    screen_audit: Path | None = field(
        default=None,
        metadata=stage_option(
            "Search whose trials must agree with the score of --screen.",
            default_text="this one",
            parser=paths.search,
            metavar=SEARCH_METAVAR,
            stages=NETWORKS,
        ),
    )
    screen_force: bool = field(
        default=False,
        metadata=stage_option("Use the score even if the trials disagree.", stages=NETWORKS),
    )
    retry_failed: bool = field(
        default=False, metadata=stage_option("Run the failed candidates again.", panel=MACHINE)
    )
    ray_address: str | None = field(
        default=None,
        metadata=stage_option(
            "Address of a running Ray cluster: auto or HOST:PORT.",
            default_text="this machine alone",
            panel=MACHINE,
        ),
    )
    on_event: str | None = field(
        default=None,
        metadata=stage_option(
            "Command, with arguments, that gets the events of trials and the end of the stage "
            "as JSON on standard input.",
            metavar="COMMAND",
            panel=MACHINE,
        ),
    )
    track: str | None = field(
        default=None,
        metadata=stage_option(
            "Also log the trials to mlflow (see MLFLOW_TRACKING_URI) or wandb.",
            metavar="mlflow|wandb",
            panel=MACHINE,
        ),
    )
    config: Path | None = field(
        default=None,
        metadata=stage_option(
            "YAML file of options and of ranges of the search space; flags override it.",
            panel=MACHINE,
            in_file=False,
        ),
    )
    dry_run: bool = field(
        default=False,
        metadata=stage_option(
            "Print the whole request as a file for --config, and exit.",
            panel=MACHINE,
            in_file=False,
        ),
    )
    as_json: bool = field(
        default=False,
        metadata=stage_option(
            "Print one JSON document on standard output.",
            flags=("--json",),
            panel=MACHINE,
            in_file=False,
        ),
    )

    def file_content(self, stage: int) -> dict[str, Any]:
        """Return what a `--config` file may give for a stage, as plain data."""
        names = [item.name for item in file_options() if stage in item.option.stages]
        values = {name: getattr(self, name) for name in names}
        return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}


Json = Annotated[bool, flag(RunFlags, "as_json")]
SearchDirectory = Annotated[Path | None, flag(RunFlags, "search_dir")]
RayAddress = Annotated[str | None, flag(RunFlags, "ray_address")]
MovedData = Annotated[
    Path | None, typer.Option(help="Folder of the same data, if they have moved.")
]
Stage = Annotated[
    int | None, typer.Option(help="1, 2 or 3. (default: the last one begun)", min=1, max=3)
]


def file_options() -> list[OptionField]:
    """Return the options about one run that a `--config` file may give."""
    return [item for item in option_fields(RunFlags) if item.option.in_file]


def opened(search_dir: Path | None) -> "SearchDir":
    """Return the search given, or the only one in `runs` (`nas.search.directory`, with torch)."""
    from nas.search.directory import find_search_dir

    return find_search_dir(search_dir)
