"""Command that finds faces in images and videos: `detect`."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
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
    from trials.data.images import Image
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
    total, done = _count(sources, options.frames), 0
    noun = "frames" if any(source.is_video for source in sources) else "images"
    with common.progress_bar(noun) as progress:
        for source in sources:
            found: list[Entry] = []

            def add(entry: Entry, found: list[Entry] = found) -> None:
                nonlocal done
                found.append(entry)
                done += 1
                progress(done, total and max(total, done))

            try:
                _detect_one(detector, source, options, add)
            except DataError as error:
                common.print_note(f"error: {error}; skipped")
                continue
            rows.append(_summary(source, found))
            entries += found if options.run.as_json else []
    return entries, rows


def _count(sources: list[Source], limit: int | None) -> int | None:
    """Return the number of images and frames, as far as the files state it; None if unknown."""
    from trials.data.videos import open_video

    total = 0
    for source in sources:
        count: int | None = 1
        if source.is_camera:
            count = None
        elif source.is_video:
            try:
                with open_video(source.opened) as video:
                    count = video.num_frames
            except DataError:  # reported when its turn comes
                count = 0
        if limit is not None and source.is_video:
            count = limit if count is None else min(count, limit)
        if count is None:
            return None
        total += count
    return total


def _detect_one(
    detector: "FaceDetector", source: Source, options: DetectOptions, add: Callable[[Entry], None]
) -> None:
    """Add the entry of an image, or of each frame, after its drawing and crops are written."""
    from trials.data.images import read_image, write_image
    from trials.detection.drawing import draw_detections

    if source.is_video:
        _detect_frames(detector, source, options, add)
        return
    image = read_image(source.path)
    found = detector.detect(image)
    if options.out:
        write_image(options.out / source.output, draw_detections(image, found))
    if options.crop:
        _write_crops(options.crop / source.output, image, found)
    add({"image": str(source.path), **_faces(found)})


def _detect_frames(
    detector: "FaceDetector", source: Source, options: DetectOptions, add: Callable[[Entry], None]
) -> None:
    """Add the entry of each frame; Ctrl-C ends a camera's recording and keeps it."""
    from trials.data.videos import open_video, writing_video
    from trials.detection.drawing import draw_detections

    number, target = 0, options.out and options.out / source.output
    with (
        open_video(source.opened) as video,
        writing_video(target, video.fps) if target else nullcontext() as write,
    ):
        if source.is_camera and options.frames is None:
            common.print_note(f"camera {source.path}: Ctrl-C ends the recording")
        try:
            for number, image in enumerate(islice(video.frames, options.frames), 1):
                found = detector.detect(image)
                if write:
                    write(draw_detections(image, found))
                if options.crop:
                    folder = options.crop / source.output.with_suffix("")
                    _write_crops(folder / f"{number:06d}.png", image, found)
                place = {"frame": number, "seconds": round((number - 1) / video.fps, 3)}
                add({"image": str(source.path), **place, **_faces(found)})
        except KeyboardInterrupt:
            if not source.is_camera:
                raise
    if options.frames is None and video.num_frames and number < COMPLETE * video.num_frames:
        rest = f"only {number} of {video.num_frames} frames could be decoded"
        common.print_note(f"{source.path}: {rest}; is the file cut short?")


def _write_crops(path: Path, image: "Image", found: "Detections") -> None:
    """Write the faces of an image beside `path`, numbered from 1 in the order of the entry."""
    from trials.data.images import write_image
    from trials.detection.align import crop_faces

    for number, face in enumerate(crop_faces(image, found), 1):
        if face is not None:
            write_image(path.with_stem(f"{path.stem}_{number}"), face)


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
