"""Commands that run a model: `detect` faces, measure the `latency`."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.shared import common, paths
from nas.cli.shared.flags import argument, group, with_flags
from nas.cli.shared.run_flags import Json, RunFlags
from search_spaces.errors import ConfigError, DataError
from search_spaces.files import visible_files
from trials.options import option
from trials.settings import TrialSettings

if TYPE_CHECKING:
    from search_spaces.network.detector import Detector
    from trials.detection.decoding import Detections
    from trials.evaluation.face_detector import FaceDetector
    from trials.evaluation.latency import Latency

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm")
RUNTIMES = ("onnxruntime", "torch")


@dataclass(frozen=True, kw_only=True)
class DetectOptions:
    """Options of `detect`."""

    model: Path = field(metadata=paths.MODEL)
    images: list[Path] = field(
        metadata=argument("Images, or folders of them.", metavar="IMAGE|FOLDER...")
    )
    out: Path | None = field(
        default=None, metadata=option("Folder for copies of the images with the faces drawn.")
    )
    run: RunFlags = field(metadata=group(RunFlags, "as_json"))
    score_threshold: float = field(default=0.5, metadata=option("Lowest score of a face."))
    nms: float = field(default=0.4, metadata=option("Largest IoU of two faces."))
    size: int = field(
        default=640, metadata=option("Side of the square that images are fitted into.")
    )
    settings: TrialSettings = field(metadata=group(TrialSettings, "device"))


@with_flags
def detect(options: DetectOptions) -> None:
    """Find faces in images; the exit code is 1 if an image could not be read."""
    from trials.evaluation.face_detector import FaceDetector

    detector = FaceDetector(
        paths.model_file(options.model),
        device=options.settings.device,
        image_size=options.size,
        score_threshold=options.score_threshold,
        nms_threshold=options.nms,
    )
    pairs = find_images(options.images)
    entries, broken = [], 0
    with common.progress_bar("images") as progress:
        for done, (path, drawn) in enumerate(pairs, 1):
            try:
                entries.append(_detect_one(detector, path, options.out and options.out / drawn))
            except DataError as error:
                broken += 1
                common.print_note(f"error: {error}; skipped")
            progress(done, len(pairs))
    if options.run.as_json:
        common.print_json(entries)
    else:
        _print_faces(entries)
    if broken:
        raise typer.Exit(1)


def find_images(inputs: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Return image files, those of folders sorted by name, each with a name for its drawing.

    Drawings keep their path below the folder; no two have the same name.

    Raises:
        DataError: a folder holds no images.
    """
    found: list[tuple[Path, Path]] = []
    taken: set[Path] = set()
    for given in inputs:
        files = [given]
        if given.is_dir():
            files = [Path(path) for path in visible_files(given, SUFFIXES)]
            if not files:
                raise DataError(f"{given}: holds no images ({', '.join(SUFFIXES)})")
        for path in files:
            name = path.relative_to(given) if given.is_dir() else Path(path.name)
            name, count, plain = _drawable(name), 1, name
            while name in taken:
                count += 1
                name = _drawable(plain.with_stem(f"{plain.stem}_{count}"))
            taken.add(name)
            found.append((path, name))
    return found


def _drawable(name: Path) -> Path:
    """Return `name` with a suffix that can be written."""
    is_plain = name.suffix.lower() in SUFFIXES and name.suffix.lower() != ".ppm"
    return name if is_plain else name.with_suffix(".png")


def _detect_one(detector: "FaceDetector", path: Path, drawn: Path | None) -> dict[str, Any]:
    """Return the JSON entry of an image, and write its drawing to `drawn`."""
    from trials.data.images import read_image, write_image
    from trials.detection.drawing import draw_detections

    image = read_image(path)
    found = detector.detect(image)
    if drawn is not None:
        write_image(drawn, draw_detections(image, found))
    return {"image": str(path), **_faces(found)}


def _faces(found: "Detections") -> dict[str, Any]:
    boxes = found.boxes_N4.astype(float).tolist()
    scores = found.scores_N.astype(float).tolist()
    points = found.keypoints_N52
    return {
        "boxes": [[*box, score] for box, score in zip(boxes, scores, strict=True)],
        "keypoints": None if points is None else points.astype(float).tolist(),
    }


def _print_faces(entries: list[dict[str, Any]]) -> None:
    rows = [(entry["image"], len(entry["boxes"]), _best(entry["boxes"])) for entry in entries]
    common.print_table("", ("image", "faces", "best score"), rows, text_columns=("image",))


def _best(boxes: list[list[float]]) -> str:
    return f"{max(box[4] for box in boxes):.3f}" if boxes else "-"


def latency(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|ARCHITECTURE",
            help="A .pt, .onnx, YAML file or name, or a trial's URL.",
            parser=paths.reference,
        ),
    ],
    size: Annotated[
        tuple[int, int], typer.Option(metavar="H W", help="Height and width of the input.")
    ] = (480, 640),
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="onnxruntime (CPU) or torch (GPU if there is one); default: the first,"
            " and the second too where there is a GPU."
        ),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs to time after the warm-up.")] = 100,
    as_json: Json = False,
) -> None:
    """Measure how long one image takes, network only: median and 95th percentile."""
    if runtime is not None and runtime not in RUNTIMES:
        raise ConfigError(f"--runtime must be {' or '.join(RUNTIMES)}, got {runtime!r}")
    results = _measure(model, size, threads, runs, runtime)
    if as_json:
        first, *others = [asdict(result) for result in results]
        gpu = others[0] if others else None
        common.print_json({"model": model, "batch": 1, **first, "gpu": gpu})
        return
    rows = [
        (r.runtime, r.device, r.threads, f"{r.median_ms:.2f}", f"{r.p95_ms:.2f}", r.runs)
        for r in results
    ]
    columns = ("runtime", "device", "threads", "median ms", "p95 ms", "runs")
    title = f"{model} at {size[0]}x{size[1]}, one image, network only"
    common.print_table(title, columns, rows, text_columns=("runtime", "device"))


def _measure(
    model: str, size: tuple[int, int], threads: int, runs: int, runtime: str | None
) -> "list[Latency]":
    """Return the latency in each runtime."""
    from trials.device import gpu_count, resolve_device
    from trials.evaluation.latency import onnxruntime_latency, torch_latency

    subject = _subject(model)
    results = []
    if runtime != "torch":
        results.append(onnxruntime_latency(subject, size=size, threads=threads, runs=runs))
    if isinstance(subject, str):
        if runtime == "torch":
            raise ConfigError(f"{model}: torch times a model file or an architecture; convert it")
    elif runtime == "torch" or (runtime is None and gpu_count()):
        device = resolve_device("auto")
        results.append(torch_latency(subject, device=device, size=size, threads=threads, runs=runs))
    return results


def _subject(model: str) -> "Detector | str":
    """Return a detector, with random weights for an architecture, or an ONNX file's path."""
    from search_spaces.network.detector import build_detector
    from trials.candidate import resolve_candidate
    from trials.model_file import load_model

    if model.lower().endswith(".onnx"):
        return model
    path = paths.model_file(Path(model))
    if path.suffix == ".pt" and os.path.exists(path):
        return load_model(path)[1]
    return build_detector(resolve_candidate(model))


COMMANDS = {"detect": detect, "latency": latency}
