"""The options of the stage commands, declared once: `stage1` and `stage2` are built from here.

A new option is one entry of `STAGE_OPTIONS`. It is a key of the stage's request
(`nas.search.request`), of `search.yaml` and of `--config`, unless `is_request` says that it is
about this run alone.
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli import paths
from search_spaces.errors import ConfigError

SEARCH_DIR_HELP = (
    "Where the search lies: a folder, or a URL such as s3://BUCKET/RUN. "
    "(default: runs/scrfdgen<FLOPS>, or the only one in runs)"
)
SELECT_ON_HELP = "Images that decide: val, or holdout:0.1, a tenth of train left untrained."
CACHE_HELP = "Decoded images: auto (in a trial's memory), off, or a folder for all on a machine."
CACHE_GB_HELP = "Bound on the decoded images, in gigabytes."
CACHE_GB_DEFAULT = "0.5 in memory, 40 in a folder"
AUGMENT_ON_HELP = "Where images are cropped and resized: auto (a GPU that trains), cpu, device."
SEARCH_DIR = typer.Option(help=SEARCH_DIR_HELP, parser=paths.search, metavar=paths.SEARCH_METAVAR)
JSON_HELP = "Print one JSON document on standard output."

_NETWORKS = (1, 2)  # stages that choose networks
_CANDIDATES, _TRAINING, _MACHINE = "Candidates", "Training", "Machine and run"
_SAVING = "Spending less"


@dataclass(frozen=True, kw_only=True)
class StageOption:
    """One option of the stage commands.

    Attributes:
        name: of the parameter; the flag follows from it unless `flags` are given.
        type: of its value; `bool` makes a switch.
        help: what it says or sets.
        default: as the help shows it; the value itself is that of the request. Empty: none.
        stages: that have the option; 3 is `stage-sr`.
        panel: heading of the help under which it stands.
        flags: spelled out, where the name does not say them.
        minimum: of a number.
        metavar: what stands for the value in the help.
        is_request: whether it is a key of the request, not of this run alone.
        parser: makes the value from text, where `type` does not.
    """

    name: str
    type: type
    help: str
    default: str = ""
    stages: tuple[int, ...] = (1, 2, 3)
    panel: str = _CANDIDATES
    flags: tuple[str, ...] = ()
    minimum: float | None = None
    metavar: str | None = None
    is_request: bool = True
    parser: Callable[[str], Any] | None = None

    @property
    def is_in_run_section(self) -> bool:
        """Whether a file may say it though it is no key of the request."""
        return not self.is_request and self.name not in ("config", "as_json", "dry_run")

    def read(self, config: dict[str, Any]) -> Any:
        """Its value in a file's `config`, None or False if it has none. Raises ConfigError."""
        value = config.get(self.name)
        if value is None:
            return False if self.type is bool else None
        if not isinstance(value, str if self.type is Path else self.type):
            kind = {bool: "true or false", Path: "a path", str: "text"}[self.type]
            raise ConfigError(f"{self.name} must be {kind}, got {value!r}")
        return self.parser(str(value)) if self.parser else self.type(value)

    def parameter(self) -> inspect.Parameter:
        """The parameter that typer turns into the flag."""
        shown = f"{self.help} (default: {self.default})" if self.default else self.help
        option = typer.Option(
            *self.flags,
            help=shown,
            min=self.minimum,
            metavar=self.metavar,
            parser=self.parser,
            rich_help_panel=self.panel,
        )
        is_switch = self.type is bool
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if is_switch else None,
            annotation=Annotated[bool if is_switch else self.type | None, option],
        )


STAGE_OPTIONS = (
    StageOption(
        name="template",
        type=str,
        help="A stage-1 number, best, a built-in name or a YAML file.",
        default="best",
        stages=(2,),
        metavar="N|best|NAME|FILE",
    ),
    StageOption(
        name="template",
        type=str,
        help="A number of stage 2 (of stage 1 without one), best, a built-in name or a YAML file.",
        default="best",
        stages=(3,),
        metavar="N|best|NAME|FILE",
    ),
    StageOption(
        name="flops",
        type=str,
        help="Target at 480x640, such as 2.5G; to begin a search.",
        stages=(1,),
    ),
    StageOption(
        name="flops",
        type=str,
        help="Target at 480x640.",
        default="stage 1's, else the template's",
        stages=(2,),
    ),
    StageOption(
        name="num_candidates",
        type=int,
        help="Candidates; may grow from run to run.",
        default="64",
        minimum=1,
    ),
    StageOption(
        name="space",
        type=str,
        help="auto, mobile, resnet or a plug-in's name.",
        default="auto, mobile up to 1G",
        stages=(1,),
    ),
    StageOption(
        name="stage2_space",
        type=str,
        help="free: every depth and width; scaled: one ratio.",
        default="free",
        stages=(2,),
        flags=("--stage2-space",),
    ),
    StageOption(
        name="ratio_tolerance",
        type=float,
        help="Deviation of each stage's FLOPs relative to the stem's.",
        default="0.1",
        stages=(2,),
    ),
    StageOption(
        name="tolerance",
        type=float,
        help="Relative deviation from the FLOPs target.",
        default="0.02",
        stages=_NETWORKS,
    ),
    StageOption(
        name="seed",
        type=int,
        help="Of the proposals and the trials.",
        default="0",
        minimum=0,
    ),
    StageOption(
        name="screen",
        type=str,
        help="Train the most promising by this training-free score, such as zen; or none.",
        default="none",
        metavar="PROXY",
        stages=_NETWORKS,
    ),
    StageOption(
        name="screen_from",
        type=int,
        help="How many candidates --screen scores.",
        default="1000",
        minimum=1,
        stages=_NETWORKS,
    ),
    StageOption(
        name="screen_audit",
        type=Path,
        help="Search whose trials must agree with the score.",
        default="this one",
        metavar=paths.SEARCH_METAVAR,
        is_request=False,
        parser=paths.search,
        stages=_NETWORKS,
    ),
    StageOption(
        name="screen_force",
        type=bool,
        help="Use the score whatever trials say of it.",
        flags=("--screen-force",),
        is_request=False,
        stages=_NETWORKS,
    ),
    StageOption(
        name="data",
        type=Path,
        help="Folder with train/ and val/ in labelv2 layout.",
        default="data/retinaface",
        panel=_TRAINING,
    ),
    StageOption(
        name="epochs",
        type=int,
        help="Of every trial.",
        default="80",
        panel=_TRAINING,
        minimum=1,
    ),
    StageOption(
        name="image_size",
        type=int,
        help="Training crops' side in pixels, x32.",
        default="640",
        panel=_TRAINING,
        minimum=32,
    ),
    StageOption(
        name="recipe",
        type=str,
        help="reference, quick, or a YAML file.",
        default="reference",
        panel=_TRAINING,
    ),
    StageOption(
        name="batch_size",
        type=int,
        help="Images an iteration.",
        default="the recipe's",
        panel=_TRAINING,
        flags=("--batch-size", "--batch"),
        minimum=1,
    ),
    StageOption(
        name="precision",
        type=str,
        help="auto, fp32, bf16 or fp16.",
        default="auto, fp32 on a CPU, bf16 or fp16 on a GPU",
        panel=_TRAINING,
    ),
    StageOption(
        name="eval_every",
        type=int,
        help="Epochs between evaluations; 0: only at the end.",
        default="0",
        panel=_TRAINING,
        minimum=0,
    ),
    StageOption(
        name="select_on",
        type=str,
        help=SELECT_ON_HELP,
        default="val",
        panel=_TRAINING,
        metavar="val|holdout:SHARE",
    ),
    StageOption(
        name="strategy",
        type=str,
        help="What chooses candidates: random, tpe or evolution.",
        default="random",
        panel=_SAVING,
        stages=_NETWORKS,
    ),
    StageOption(
        name="warm_start",
        type=str,
        help="Another search, whose finished trials tpe and evolution learn from too.",
        panel=_SAVING,
        metavar=paths.SEARCH_METAVAR,
        stages=_NETWORKS,
    ),
    StageOption(
        name="scheduler",
        type=str,
        help="What ends poor trials early: fifo (nothing) or asha.",
        default="fifo",
        panel=_SAVING,
    ),
    StageOption(
        name="rungs",
        type=str,
        help="Compare trials on the way (shared), or after complete short trainings, in rounds "
        "(complete, with asha).",
        default="shared",
        panel=_SAVING,
    ),
    StageOption(
        name="reduction_factor",
        type=int,
        help="One in so many trials goes on at a rung.",
        default="3",
        panel=_SAVING,
        minimum=2,
    ),
    StageOption(
        name="grace_epochs",
        type=int,
        help="No trial ends before.",
        default="epochs / reduction-factor^2",
        panel=_SAVING,
        minimum=1,
    ),
    StageOption(
        name="max_gpu_hours",
        type=float,
        help="Stop the search, to be continued, when its trials have taken so much; hours of "
        "trials where they have no GPU.",
        default="no limit",
        panel=_SAVING,
        minimum=0,
    ),
    StageOption(
        name="search_dir",
        type=Path,
        help=SEARCH_DIR_HELP,
        panel=_MACHINE,
        metavar=paths.SEARCH_METAVAR,
        is_request=False,
        parser=paths.search,
    ),
    StageOption(
        name="gpus_per_trial",
        type=float,
        help="GPUs a trial, or a share of one.",
        default="1 where there are GPUs",
        panel=_MACHINE,
        minimum=0,
    ),
    StageOption(
        name="cpus_per_trial",
        type=float,
        help="Cores a trial.",
        default="the machine's, shared among the trials",
        panel=_MACHINE,
        minimum=0.01,
    ),
    StageOption(
        name="loader_workers",
        type=int,
        help="Processes a trial that prepare images.",
        default="its cores but one on a GPU, else 0",
        panel=_MACHINE,
        minimum=0,
    ),
    StageOption(
        name="cache",
        type=str,
        help=CACHE_HELP,
        default="auto",
        panel=_MACHINE,
        metavar="auto|off|DIR",
    ),
    StageOption(
        name="cache_gb",
        type=float,
        help=CACHE_GB_HELP,
        default=CACHE_GB_DEFAULT,
        panel=_MACHINE,
        minimum=0,
    ),
    StageOption(
        name="retries",
        type=int,
        help="How often a failed trial is tried again between two finished epochs.",
        default="1",
        panel=_MACHINE,
        minimum=0,
    ),
    StageOption(
        name="storage",
        type=str,
        help="Where Optuna keeps the study: a journal file in the search directory, or a URL such "
        "as postgresql://me@host/optuna.",
        default="journal",
        panel=_MACHINE,
        metavar="journal|URL",
    ),
    StageOption(
        name="retry_failed",
        type=bool,
        help="Try the failed candidates again.",
        panel=_MACHINE,
        flags=("--retry-failed",),
        is_request=False,
    ),
    StageOption(
        name="ray_address",
        type=str,
        help="A running Ray cluster: auto or HOST:PORT.",
        default="this machine alone",
        panel=_MACHINE,
        is_request=False,
    ),
    StageOption(
        name="on_event",
        type=str,
        help="Program, with arguments, that is told of trials and the stage's end as JSON on its "
        "standard input.",
        panel=_MACHINE,
        metavar="COMMAND",
        is_request=False,
    ),
    StageOption(
        name="track",
        type=str,
        help="Show the trials in mlflow (see MLFLOW_TRACKING_URI) or wandb, too.",
        panel=_MACHINE,
        metavar="mlflow|wandb",
        is_request=False,
    ),
    StageOption(
        name="config",
        type=Path,
        help="YAML file of options and of the space's ranges; flags override it.",
        panel=_MACHINE,
        is_request=False,
    ),
    StageOption(
        name="dry_run",
        type=bool,
        help="Print the whole request as a file for --config, and do nothing.",
        panel=_MACHINE,
        flags=("--dry-run",),
        is_request=False,
    ),
    StageOption(
        name="as_json",
        type=bool,
        help=JSON_HELP,
        panel=_MACHINE,
        flags=("--json",),
        is_request=False,
    ),
)


def options_of(stage: int) -> list[StageOption]:
    """The options of one stage, in the order of its help."""
    return [option for option in STAGE_OPTIONS if stage in option.stages]


def request_options(stage: int, flags: dict[str, Any]) -> dict[str, Any]:
    """Those of the parsed `flags` that belong to the request and were given."""
    names = [option.name for option in options_of(stage) if option.is_request]
    return {name: flags[name] for name in names if flags[name] is not None}


def run_options(stage: int, flags: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The options about this run alone: of the parsed `flags`, else of the file's `config`.

    Raises:
        ConfigError: the file has a value of another type.
    """
    own = [option for option in options_of(stage) if option.is_in_run_section]
    given = {o.name: flags[o.name] for o in own if flags.get(o.name) not in (None, False)}
    return {option.name: option.read(config) for option in own} | given


def stage_command(
    stage: int, name: str, help: str, run: Callable[[int, dict[str, Any]], None]
) -> Callable[..., None]:
    """A function for `typer.Typer.command` that has the stage's options as parameters.

    Args:
        stage: 1 or 2.
        name: of the command.
        help: its help text.
        run: is called with the stage and the parsed flags by name, None where not given.
    """

    def command(**flags: Any) -> None:
        run(stage, flags)

    return declared(command, options_of(stage), name, help)


def declared(
    command: Callable[..., None], options: Iterable[StageOption], name: str, help: str
) -> Callable[..., None]:
    """`command`, which takes any keywords, with a name, a help text and `options` for typer."""
    parameters = [option.parameter() for option in options]
    command.__name__, command.__doc__ = name, help
    # typer reads both: the order and defaults here, the types there.
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    return command
