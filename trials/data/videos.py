"""Decode and write video files with OpenCV and the FFmpeg that it includes.

Shapes: frames are uint8 RGB (H, W, 3), as images are.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from search_spaces.errors import DataError
from search_spaces.files import replacing
from trials.data.images import Image

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
USUAL_FPS = 25.0
FASTEST_FPS = 1000.0
CODEC = "mp4v"  # MPEG-4 part 2, which every FFmpeg can write

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # errors are raised instead


@dataclass(frozen=True, kw_only=True)
class Video:
    """An open video file or camera.

    Attributes:
        num_frames: number of frames as the file states it, which may be inexact; None if unknown.
        fps: frames a second; 25 where the file states none.
        frames: the frames in order.
    """

    num_frames: int | None
    fps: float
    frames: Iterator[Image]


@contextmanager
def open_video(source: Path | int) -> Iterator[Video]:
    """Open a video file, or a camera by its number, and close it in the end.

    Raises:
        DataError: no such file or camera, the video is damaged, or its codec is missing.
    """
    capture = _opened(source)
    try:
        count, fps = (float(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
        yield Video(
            num_frames=int(count) if isinstance(source, Path) and 0 < count < 1e9 else None,
            fps=fps if 0 < fps <= FASTEST_FPS else USUAL_FPS,
            frames=_frames(capture, source),
        )
    finally:
        capture.release()


def _opened(source: Path | int) -> Any:
    """Return OpenCV's capture of a source."""
    if isinstance(source, int):
        capture = cv2.VideoCapture(source)
        reason = "there is no such camera, or it is in use or not permitted"
    else:
        if not source.is_file():
            raise DataError(f"{source}: the video is missing")
        # An absolute path cannot be taken for a protocol of FFmpeg, such as `concat:a|b`.
        capture = cv2.VideoCapture(os.path.abspath(source), cv2.CAP_FFMPEG)
        reason = "it is damaged or no video, or OpenCV lacks its codec; try another format"
    if not capture.isOpened():
        raise DataError(f"{_name(source)}: cannot be opened ({reason})")
    return capture


def _frames(capture: Any, source: Path | int) -> Iterator[Image]:
    count = 0
    while True:
        has_frame, frame_HW3 = capture.read()
        if not has_frame:
            break
        count += 1
        yield np.asarray(cv2.cvtColor(frame_HW3, cv2.COLOR_BGR2RGB), np.uint8)
    if not count:
        raise DataError(f"{_name(source)}: no frame can be decoded; is it damaged?")


def _name(source: Path | int) -> str:
    return f"camera {source}" if isinstance(source, int) else str(source)


@contextmanager
def writing_video(path: str | os.PathLike[str], fps: float) -> Iterator[Callable[[Image], None]]:
    """Write an mp4 video, whole or not at all; yield the function that appends a frame.

    The first frame sets the size; an odd side loses its last row or column.

    Raises:
        DataError: OpenCV lacks the codec, there was no frame, or the file is not whole (disk full).
    """
    with replacing(path, suffix=".tmp.mp4") as temporary:
        writer, count = cv2.VideoWriter(), 0

        def append(frame_HW3: Image) -> None:
            nonlocal count
            if not count:
                code = cv2.VideoWriter.fourcc(*CODEC)
                size = frame_HW3.shape[1], frame_HW3.shape[0]
                if not writer.open(str(temporary.resolve()), cv2.CAP_FFMPEG, code, fps, size):
                    advice = "leave out --out, or install opencv-python-headless with FFmpeg"
                    raise DataError(f"{path}: OpenCV cannot write mp4 ({CODEC}) here; {advice}")
            writer.write(cv2.cvtColor(frame_HW3, cv2.COLOR_RGB2BGR))
            count += 1

        try:
            yield append
        finally:
            writer.release()
        if not count:
            raise DataError(f"{path}: a video needs a frame, got none")
        _check_written(temporary, path, count)


def _check_written(temporary: Path, path: str | os.PathLike[str], count: int) -> None:
    """Raise DataError unless a video has `count` frames; OpenCV reports no errors of writing."""
    written = cv2.VideoCapture(str(temporary.resolve()), cv2.CAP_FFMPEG)
    found = int(written.get(cv2.CAP_PROP_FRAME_COUNT)) if written.isOpened() else 0
    written.release()
    if found != count:
        raise DataError(f"{path}: {found} of {count} frames were written; is the disk full?")
