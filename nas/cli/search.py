"""Commands of a search: its two stages, how it stands, and its leaderboards."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common, leaderboards
from search_spaces.errors import ConfigError, TrialError

if TYPE_CHECKING:
    from nas.search_dir import SearchDir

_FLOPS = typer.Option(help="Target at 480x640, such as 2.5G; to begin a search.")
_FLOPS_2 = typer.Option(help="Target at 480x640. (default: stage 1's, else the template's)")
_DATA = typer.Option(
    help="Folder with train/ and val/ in labelv2 layout. (default: data/retinaface)"
)
_NUM = typer.Option(help="Candidates; may grow from run to run. (default: 64)", min=1)
_EPOCHS = typer.Option(help="Of every trial. (default: 80)", min=1)
_SIZE = typer.Option(help="Training crops' side in pixels, x32. (default: 640)", min=32)
_RECIPE = typer.Option(help="reference, quick, or a YAML file. (default: reference)")
_BATCH = typer.Option(
    "--batch-size", "--batch", help="Images an iteration. (default: the recipe's)", min=1
)
_SEED = typer.Option(help="Of the proposals and the trials. (default: 0)", min=0)
_SPACE = typer.Option(help="auto, mobile or resnet. (default: auto, mobile up to 1G)")
_TOLERANCE = typer.Option(help="Relative deviation from the FLOPs target. (default: 0.02)")
_TEMPLATE = typer.Option(
    help="A stage-1 number, best, a built-in name or a YAML file. (default: best)",
    metavar="N|best|NAME|FILE",
)
_STAGE2_SPACE = typer.Option(
    "--stage2-space", help="free: every depth and width; scaled: one ratio. (default: free)"
)
_RATIO = typer.Option(help="Deviation of each stage's FLOPs relative to the stem's. (default: 0.1)")
_GPUS = typer.Option(
    help="GPUs a trial, or a share of one. (default: 1 where there are GPUs)", min=0
)
_CPUS = typer.Option(
    help="Cores a trial. (default: the machine's, shared among the trials)", min=0.01
)
_RETRIES = typer.Option(help="How often a failed trial is tried again. (default: 1)", min=0)
_EVAL = typer.Option(help="Epochs between evaluations; 0: only at the end. (default: 0)", min=0)
_PRECISION = typer.Option(
    help="auto, fp32, bf16 or fp16. (default: auto, fp32 on a CPU, bf16 or fp16 on a GPU)"
)
_WORKERS = typer.Option(
    help="Processes a trial that prepare images. (default: its cores but one on a GPU, else 0)",
    min=0,
)
_ADDRESS = typer.Option(
    help="A running Ray cluster: auto or HOST:PORT. (default: this machine alone)"
)
_DIRECTORY = typer.Option(
    help="Where the search lies. (default: runs/scrfdgen<FLOPS>, or the only one in runs)"
)
_CONFIG = typer.Option(help="YAML file of options and of the space's ranges; flags override it.")
_RETRY_FAILED = typer.Option("--retry-failed", help="Try the failed candidates again.")
_JSON = typer.Option("--json", help="Print one JSON document on standard output.")
_STAGE = typer.Option(help="1 or 2. (default: both)", min=1, max=2)

_RUN_FLAGS = ("search_dir", "config", "ray_address", "retry_failed", "as_json")


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (stage1, stage2, status, report):
        app.command()(command)


def stage1(
    flops: Annotated[str | None, _FLOPS] = None,
    data: Annotated[Path | None, _DATA] = None,
    num_candidates: Annotated[int | None, _NUM] = None,
    epochs: Annotated[int | None, _EPOCHS] = None,
    image_size: Annotated[int | None, _SIZE] = None,
    gpus_per_trial: Annotated[float | None, _GPUS] = None,
    cpus_per_trial: Annotated[float | None, _CPUS] = None,
    search_dir: Annotated[Path | None, _DIRECTORY] = None,
    ray_address: Annotated[str | None, _ADDRESS] = None,
    seed: Annotated[int | None, _SEED] = None,
    space: Annotated[str | None, _SPACE] = None,
    tolerance: Annotated[float | None, _TOLERANCE] = None,
    recipe: Annotated[str | None, _RECIPE] = None,
    batch_size: Annotated[int | None, _BATCH] = None,
    precision: Annotated[str | None, _PRECISION] = None,
    loader_workers: Annotated[int | None, _WORKERS] = None,
    eval_every: Annotated[int | None, _EVAL] = None,
    retries: Annotated[int | None, _RETRIES] = None,
    retry_failed: Annotated[bool, _RETRY_FAILED] = False,
    config: Annotated[Path | None, _CONFIG] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Search the backbone: train random candidates of one budget and rank them.

    Run it again to continue. Options that are left out are as in the run before.
    """
    _run_stage(1, dict(locals()))


def stage2(
    template: Annotated[str | None, _TEMPLATE] = None,
    search_dir: Annotated[Path | None, _DIRECTORY] = None,
    num_candidates: Annotated[int | None, _NUM] = None,
    stage2_space: Annotated[str | None, _STAGE2_SPACE] = None,
    ratio_tolerance: Annotated[float | None, _RATIO] = None,
    flops: Annotated[str | None, _FLOPS_2] = None,
    data: Annotated[Path | None, _DATA] = None,
    epochs: Annotated[int | None, _EPOCHS] = None,
    image_size: Annotated[int | None, _SIZE] = None,
    gpus_per_trial: Annotated[float | None, _GPUS] = None,
    cpus_per_trial: Annotated[float | None, _CPUS] = None,
    ray_address: Annotated[str | None, _ADDRESS] = None,
    seed: Annotated[int | None, _SEED] = None,
    tolerance: Annotated[float | None, _TOLERANCE] = None,
    recipe: Annotated[str | None, _RECIPE] = None,
    batch_size: Annotated[int | None, _BATCH] = None,
    precision: Annotated[str | None, _PRECISION] = None,
    loader_workers: Annotated[int | None, _WORKERS] = None,
    eval_every: Annotated[int | None, _EVAL] = None,
    retries: Annotated[int | None, _RETRIES] = None,
    retry_failed: Annotated[bool, _RETRY_FAILED] = False,
    config: Annotated[Path | None, _CONFIG] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Redistribute a template's compute over backbone, neck and head.

    FLOPs target, data, recipe, epochs and image size are stage 1's, where there was one.
    """
    _run_stage(2, dict(locals()))


def status(
    search_dir: Annotated[Path | None, _DIRECTORY] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Show how a search stands, from any terminal."""
    from dataclasses import asdict

    from nas.search_dir import find_search_dir
    from nas.status import read_status

    directory = find_search_dir(search_dir)
    stages = [read_status(directory, stage) for stage in sorted(directory.requests())]
    driver = directory.driver()
    if as_json:
        content = {f"stage{status.stage}": status.to_dict() for status in stages}
        who = asdict(driver) if driver else None
        common.print_json({"search_dir": str(directory.root), "driver": who, **content})
        return
    text = f"process {driver.pid} on {driver.host} works here" if driver else "nobody works here"
    common.print_rich(f"{directory.root}: {text}")
    for line in stages:
        common.print_rich(line.describe())


def report(
    search_dir: Annotated[Path | None, _DIRECTORY] = None,
    stage: Annotated[int | None, _STAGE] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """Write leaderboard.csv for the stages begun so far and print it."""
    from nas.search_dir import find_search_dir
    from nas.stages import write_stage_leaderboard

    directory = find_search_dir(search_dir)
    stages = [number for number in sorted(directory.requests()) if stage in (None, number)]
    if not stages:
        raise ConfigError(f"{directory.root}: stage {stage} has not begun")
    tables = {number: write_stage_leaderboard(directory, number) for number in stages}
    leaderboards.print_leaderboards(directory, tables, as_json=as_json)


def _run_stage(stage: int, flags: dict[str, Any]) -> None:
    from nas.progress import shown
    from nas.stages import RunOptions, run_stage

    given = {key: flags[key] for key in flags if key not in _RUN_FLAGS}
    options = _options(stage, given, flags["config"])
    directory = _directory(flags["search_dir"], options.get("flops"))
    run = RunOptions(address=flags["ray_address"], retry_failed=flags["retry_failed"])
    try:
        with shown(common.console) as update:
            summary = run_stage(
                directory, stage, options, run, update=update, note=common.print_note
            )
    except (KeyboardInterrupt, SystemExit):
        common.print_note(f"stopped; the same command continues the search in {directory.root}")
        raise
    tables = {stage: summary.table}
    leaderboards.print_leaderboards(directory, tables, as_json=flags["as_json"])
    if not summary.num_finished:
        reason = next(iter(summary.table["reason"]), "there are no candidates")
        raise TrialError(f"no candidate of stage {stage} finished; the first failed: {reason}")


def _options(stage: int, flags: Mapping[str, Any], config: Path | None) -> dict[str, Any]:
    """The options given in the file and by flags, as `nas.stages.run_stage` takes them."""
    from trials.recipe import load_recipe

    options = _read_config(stage, config) if config else {}
    options |= {key: value for key, value in flags.items() if value is not None}
    if isinstance(options.get("flops"), str):
        options["flops"] = common.parse_flops(options["flops"])
    if isinstance(options.get("recipe"), str):
        options["recipe"] = load_recipe(options["recipe"]).to_dict()
    if "data" in options:
        options["data"] = str(options["data"])
    return options


def _read_config(stage: int, path: Path) -> dict[str, Any]:
    """A flat file of options, one with a section a stage, or another search's search.yaml."""
    from search_spaces.files import read_yaml

    content = read_yaml(path)
    if isinstance(content, Mapping) and {"stage1", "stage2"} & set(content):
        content = content.get(f"stage{stage}", {})
    if isinstance(content, Mapping) and "request" in content:
        content = content["request"]
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}: must be a mapping of options, got {type(content).__name__}")
    computed = ("data_fingerprint", "template_hash")  # of what data and template are now
    return {str(key): value for key, value in content.items() if key not in computed}


def _directory(given: Path | None, flops: object) -> "SearchDir":
    from nas.search_dir import SearchDir, find_search_dir

    if given is not None:
        return SearchDir(given)
    if isinstance(flops, int):
        return SearchDir(Path("runs") / f"scrfdgen{flops / 1e9:g}g")
    return find_search_dir(None)
