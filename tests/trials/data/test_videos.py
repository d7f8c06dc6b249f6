"""Videos and cameras as sequences of images."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from images import noise

from search_spaces.errors import DataError
from trials.data import videos
from trials.data.videos import open_video, writing_video

LEVELS = (40, 90, 140, 190)


def frames(height=48, width=64):
    """Return RGB frames whose red channel is one of LEVELS, one after the other."""
    for level in LEVELS:
        frame = np.zeros((height, width, 3), np.uint8)
        frame[..., 0] = level
        yield frame


def write(path, fps=10.0, pictures=None):
    with writing_video(path, fps) as append:
        for frame in frames() if pictures is None else pictures:
            append(frame)
    return path


def test_frames_are_read_as_they_were_written_in_rgb(tmp_path):
    with open_video(write(tmp_path / "v.mp4")) as video:
        assert (video.num_frames, video.fps) == (4, 10)
        found = list(video.frames)
    assert [frame.shape for frame in found] == [(48, 64, 3)] * 4
    for frame, level in zip(found, LEVELS, strict=True):
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), (level, 0, 0), atol=8)


@pytest.mark.parametrize("suffix", [s for s in videos.VIDEO_SUFFIXES if s != ".webm"])
def test_usual_containers_are_read(tmp_path, suffix):
    codec = cv2.VideoWriter.fourcc(*("MJPG" if suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(tmp_path / f"v{suffix}"), cv2.CAP_FFMPEG, codec, 10, (64, 48))
    for frame in frames():
        writer.write(frame)
    writer.release()
    with open_video(tmp_path / f"v{suffix}") as video:
        assert len(list(video.frames)) == 4


def test_odd_sides_lose_a_row_or_column(tmp_path):
    with open_video(write(tmp_path / "v.mp4", pictures=frames(49, 65))) as video:
        assert next(video.frames).shape == (48, 64, 3)


def test_a_name_is_never_taken_for_a_protocol_of_ffmpeg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "v.mp4").rename("concat:a.mp4")
    with open_video(Path("concat:a.mp4")) as video:
        assert video.num_frames == 4


def test_faults_are_named(tmp_path, capfd):
    (tmp_path / "bad.mp4").write_bytes(b"nonsense" * 999)
    whole = write(tmp_path / "v.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name, message in (
        ("none.mp4", "none.mp4: the video is missing"),
        ("bad.mp4", r"bad.mp4: cannot be opened \(it is damaged or no video"),
        ("cut.mp4", r"cut.mp4: cannot be opened"),
    ):
        with pytest.raises(DataError, match=message), open_video(tmp_path / name):
            pass
    message = r"camera 99: cannot be opened \(there is no such camera"
    with pytest.raises(DataError, match=message), open_video(99):
        pass
    assert capfd.readouterr() == ("", "")


class Capture:
    """OpenCV's capture of a camera that states nothing and gives so many frames."""

    def __init__(self, num_frames):
        self.left, self.released = num_frames, False

    def isOpened(self):  # noqa: N802
        return True

    def get(self, _):
        return float("nan")

    def read(self):
        self.left -= 1
        return (True, noise(4, 6)) if self.left >= 0 else (False, None)

    def release(self):
        self.released = True


def test_a_camera_has_no_number_of_frames_and_is_released(monkeypatch):
    capture = Capture(2)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: capture)
    with open_video(0) as video:
        assert (video.num_frames, video.fps) == (None, videos.USUAL_FPS)
        assert len(list(video.frames)) == 2
    assert capture.released
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: Capture(0))
    with open_video(0) as video, pytest.raises(DataError, match="camera 0: no frame"):
        next(video.frames)


@pytest.mark.parametrize("error", [KeyboardInterrupt, DataError])
def test_a_video_that_was_interrupted_leaves_nothing(tmp_path, error):
    (tmp_path / "v.mp4").write_text("the old one")

    def interrupted():
        yield next(frames())
        raise error

    with pytest.raises(error):
        write(tmp_path / "v.mp4", pictures=interrupted())
    assert [path.name for path in tmp_path.iterdir()] == ["v.mp4"]
    assert (tmp_path / "v.mp4").read_text() == "the old one"


def test_what_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="a video needs a frame"):
        write(tmp_path / "v.mp4", pictures=[])
    with monkeypatch.context() as patched:
        patched.setattr(videos, "CODEC", "xxxx")
        with pytest.raises(DataError, match=r"cannot write mp4 \(xxxx\) here; leave out --out"):
            write(tmp_path / "v.mp4")
    monkeypatch.setattr(cv2, "VideoWriter", type("Full", (Silent,), {"fourcc": lambda *_: 0}))
    with pytest.raises(DataError, match="0 of 4 frames were written; is the disk full"):
        write(tmp_path / "v.mp4")
    assert list(tmp_path.iterdir()) == []


class Silent:
    """A writer that writes nothing and reports no error, as OpenCV's on a full disk."""

    def open(self, *_):
        return True

    def write(self, _):
        pass

    def release(self):
        pass
