"""Detection in image and video files, with drawings and crops of what is found."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from trials.data.images import Image, read_image, write_image
from trials.data.videos import open_video, writing_video
from trials.detection.align import crop_faces
from trials.detection.decoding import Detections
from trials.detection.drawing import draw_detections
from trials.evaluation.face_detector import FaceDetector


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What is written beside the detections; None: nothing.

    Attributes:
        drawing: image or mp4 file with the faces drawn.
        crops: path to whose stem the number of a face is added, or of a frame and a face.
    """

    drawing: Path | None = None
    crops: Path | None = None


def detect_image(detector: FaceDetector, path: Path, outputs: Outputs) -> Detections:
    """Return the faces of an image file, after the outputs are written. Raises DataError."""
    image = read_image(path)
    found = detector.detect(image)
    if outputs.drawing:
        write_image(outputs.drawing, draw_detections(image, found))
    if outputs.crops:
        _write_crops(outputs.crops, image, found)
    return found


def detect_video(
    detector: FaceDetector,
    source: Path | int,
    outputs: Outputs,
    on_frame: Callable[[int, float, Detections], None],
    limit: int | None = None,
) -> int | None:
    """Find the faces of each frame of a video file or camera.

    Ctrl-C ends the recording of a camera, which is kept.

    Args:
        detector: the detector.
        source: the file, or the number of a camera.
        outputs: the crops of a frame are in a folder named like the video, without its suffix.
        on_frame: called with the number of the frame, from 1, its time in seconds and its faces.
        limit: number of frames to stop after; None: all.

    Returns:
        The number of frames as the file states it, which may be inexact; None if unknown.

    Raises:
        DataError: see `trials.data.videos`.
    """
    target = outputs.drawing
    with (
        open_video(source) as video,
        writing_video(target, video.fps) if target else nullcontext() as write,
    ):
        try:
            for number, image in enumerate(islice(video.frames, limit), 1):
                found = detector.detect(image)
                if write:
                    write(draw_detections(image, found))
                if outputs.crops:
                    folder = outputs.crops.with_suffix("")
                    _write_crops(folder / f"{number:06d}.png", image, found)
                on_frame(number, (number - 1) / video.fps, found)
        except KeyboardInterrupt:
            if isinstance(source, Path):
                raise
    return video.num_frames


def _write_crops(path: Path, image: Image, found: Detections) -> None:
    """Write the faces of an image beside `path`, numbered from 1 in the order of detection."""
    for number, face in enumerate(crop_faces(image, found), 1):
        if face is not None:
            write_image(path.with_stem(f"{path.stem}_{number}"), face)
