"""Command that finds faces in images and videos: `detect`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nas.cli.models.detect_inputs import Source, find_sources, require_other_folder
from nas.cli.shared import common, paths
from nas.cli.shared.flags import argument, group, with_flags
from nas.cli.shared.run_flags import RunFlags
from search_spaces.errors import DataError
from trials.options import option
from trials.settings import TrialSettings

if TYPE_CHECKING:
    from trials.detection.decoding import Detections
    from trials.evaluation.face_detector import FaceDetector

COMPLETE = 0.9  # of the frames that a file states, since some files state them inexactly

Entry = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class DetectOptions:
    """Options of `detect`."""

    model: Path = field(metadata=paths.MODEL)
    images: list[str] = field(
        metadata=argument(
            "Images, videos, or folders of them; a number is a camera.",
            metavar="FILE|FOLDER|CAMERA...",
        )
    )
    out: Path | None = field(
        default=None,
        metadata=option("Folder for copies of the images and videos with the faces drawn."),
    )
    crop: Path | None = field(
        default=None,
        metadata=option(
            "Folder for the faces, aligned to 112x112 (ArcFace) if the model has key points."
        ),
    )
    frames: int | None = field(
        default=None,
        metadata=option("Stop after so many frames of each video.", minimum=1, default_text="all"),
    )
    run: RunFlags = field(metadata=group(RunFlags, "as_json"))
    score_threshold: float = field(default=0.5, metadata=option("Lowest score of a face."))
    nms: float = field(default=0.4, metadata=option("Largest IoU of two faces."))
    size: int = field(
        default=640, metadata=option("Side of the square that images are fitted into.")
    )
    settings: TrialSettings = field(metadata=group(TrialSettings, "device"))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One row of the table: an image, or all frames of a video."""

    name: str
    frames: int | None
    faces: int
    best: float | None


@with_flags
def detect(options: DetectOptions) -> None:
    """Find faces in images and videos.

    The exit code is 1 if one could not be read.
    """
    from trials.evaluation.face_detector import FaceDetector

    sources = find_sources([paths.picture(text) for text in options.images])
    require_other_folder(sources, options.out, "--out")
    require_other_folder(sources, options.crop, "--crop")
    detector = FaceDetector(
        paths.model_file(options.model),
        device=options.settings.device,
        image_size=options.size,
        score_threshold=options.score_threshold,
        nms_threshold=options.nms,
    )
    if options.crop and not detector.has_keypoints:
        common.print_note("the model has no key points: crops are cut along the boxes, unaligned")
    entries, rows = _detect_all(detector, sources, options)
    if options.run.as_json:
        common.print_json(entries)
    elif rows:
        _print_table(rows)
    if len(rows) < len(sources):
        raise typer.Exit(1)


def _detect_all(
    detector: "FaceDetector", sources: list[Source], options: DetectOptions
) -> tuple[list[Entry], list[Summary]]:
    """Return the JSON entries, one for an image or frame, and the rows of what could be read."""
    entries: list[Entry] = []
    rows: list[Summary] = []
    total, numbers = _count(sources, options.frames), count(1)
    noun = "frames" if any(source.is_video for source in sources) else "images"
    with common.progress_bar(noun) as progress:
        for source in sources:
            found: list[Entry] = []

            def add(entry: Entry, found: list[Entry] = found) -> None:
                found.append(entry)
                done = next(numbers)
                progress(done, total and max(total, done))

            try:
                stated = _detect_one(detector, source, options, add)
            except DataError as error:
                common.print_note(f"error: {error}; skipped")
                continue
            if options.frames is None and stated and len(found) < COMPLETE * stated:
                rest = f"only {len(found)} of {stated} frames could be decoded"
                common.print_note(f"{source.path}: {rest}; is the file cut short?")
            rows.append(_summary(source, found))
            entries += found if options.run.as_json else []
    return entries, rows


def _count(sources: list[Source], limit: int | None) -> int | None:
    """Return the number of images and frames, as far as the files state it; None if unknown."""
    from trials.data.videos import open_video

    total = 0
    for source in sources:
        frames: int | None = 1
        if source.is_camera:
            frames = None
        elif source.is_video:
            try:
                with open_video(source.opened) as video:
                    frames = video.num_frames
            except DataError:  # reported when its turn comes
                frames = 0
        if limit is not None and source.is_video:
            frames = limit if frames is None else min(frames, limit)
        if frames is None:
            return None
        total += frames
    return total


def _detect_one(
    detector: "FaceDetector", source: Source, options: DetectOptions, add: Callable[[Entry], None]
) -> int | None:
    """Add the entry of an image, or of each frame; return the number of frames that it states."""
    from trials.evaluation.detect_files import Outputs, detect_image, detect_video

    outputs = Outputs(
        drawing=options.out and options.out / source.output,
        crops=options.crop and options.crop / source.output,
    )
    name = {"image": str(source.path)}
    if not source.is_video:
        add({**name, **_faces(detect_image(detector, source.path, outputs))})
        return 1

    def on_frame(number: int, seconds: float, found: "Detections") -> None:
        if number == 1 and source.is_camera and options.frames is None:
            common.print_note(f"camera {source.path}: Ctrl-C ends the recording")
        add({**name, "frame": number, "seconds": round(seconds, 3), **_faces(found)})

    return detect_video(detector, source.opened, outputs, on_frame, options.frames)


def _faces(found: "Detections") -> Entry:
    boxes = found.boxes_N4.astype(float).tolist()
    scores = found.scores_N.astype(float).tolist()
    points = found.keypoints_N52
    return {
        "boxes": [[*box, score] for box, score in zip(boxes, scores, strict=True)],
        "keypoints": None if points is None else points.astype(float).tolist(),
    }


def _summary(source: Source, entries: list[Entry]) -> Summary:
    scores = [box[4] for entry in entries for box in entry["boxes"]]
    return Summary(
        name=f"camera {source.path}" if source.is_camera else str(source.path),
        frames=len(entries) if source.is_video else None,
        faces=len(scores),
        best=max(scores, default=None),
    )


def _print_table(rows: list[Summary]) -> None:
    """Print one row for each source; frames only where a source has some."""
    has_frames = any(row.frames is not None for row in rows)
    columns = ("image", *(("frames",) if has_frames else ()), "faces", "best score")
    cells = []
    for row in rows:
        frames = ("-" if row.frames is None else row.frames,) if has_frames else ()
        best = "-" if row.best is None else f"{row.best:.3f}"
        cells.append((row.name, *frames, row.faces, best))
    common.print_table("", columns, cells, text_columns=("image",))


COMMANDS = {"detect": detect}
