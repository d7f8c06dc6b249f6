"""`detect`: images, folders, videos and cameras; drawings, crops and JSON."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tiny
from images import noise, save_image

from search_spaces.architecture import Head
from trials.data.images import read_image, read_size
from trials.data.videos import open_video, writing_video

HEAD = Head(convs=1, width=8, norm="batch", shared=False, keypoints=5)
TINY = replace(tiny.TINY, head=HEAD)


@pytest.fixture(name="model")
def _model(tmp_path):
    return tiny.save_eager(tmp_path / "best.pt", TINY)


@pytest.fixture(name="photos")
def _photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for name in ("b.jpg", "a.png", "inner/c.jpg"):
        save_image(folder / name, noise(40, 60))
    (folder / "notes.txt").write_text("no image")
    return folder


@pytest.fixture(name="clip")
def _clip(tmp_path):
    (tmp_path / "clips").mkdir()
    with writing_video(tmp_path / "clips" / "v.mp4", 10) as append:
        for number in range(3):
            append(noise(40, 60, number))
    return tmp_path / "clips" / "v.mp4"


def detect(cli, *arguments, code=0):
    return cli.run(["detect", *arguments, "--size", 64], code)


def as_json(cli, *arguments):
    return json.loads(detect(cli, *arguments, "--json").out)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_folder_is_searched_for_images_that_are_not_hidden(cli, model, photos):
    (photos / "._a.png").write_bytes(b"\0\5\x16\7")
    found = as_json(cli, model, photos)
    assert [entry["image"] for entry in found] == [
        str(photos / name) for name in ("a.png", "b.jpg", "inner/c.jpg")
    ]
    for entry in found:
        assert set(entry) == {"image", "boxes", "keypoints"}
        assert entry["boxes"]
        assert {len(box) for box in entry["boxes"]} == {5}
        assert np.array(entry["keypoints"]).shape == (len(entry["boxes"]), 5, 2)
        assert min(box[4] for box in entry["boxes"]) >= 0.5


def test_thresholds(cli, model, photos):
    def count(*flags):
        return len(as_json(cli, model, photos / "a.png", *flags)[0]["boxes"])

    assert count("--score-threshold", 0.999) == 0
    assert count("--nms", 0) < count("--nms", 0.9)


def test_drawings_have_names_of_their_own(cli, tmp_path, model, photos):
    other = tmp_path / "other"
    other.mkdir()
    (photos / "a.png").rename(other / "b.jpg")
    out = tmp_path / "drawn"
    assert "best score" in detect(cli, model, photos, other, "--out", out).out
    assert files(out) == ["b.jpg", "b_2.jpg", "inner/c.jpg"]
    assert read_size(out / "b.jpg") == (60, 40)


@pytest.mark.parametrize("flag", ["--out", "--crop"])
def test_images_are_never_replaced_by_outputs(cli, model, photos, flag):
    before = (photos / "b.jpg").read_bytes()
    for target in (photos, photos / "inner" / ".."):
        err = cli.fail(["detect", model, photos / "b.jpg", flag, target])
        assert f"{flag} must be another folder than that of the images" in err
    assert (photos / "b.jpg").read_bytes() == before


def test_a_broken_image_is_skipped_and_the_exit_code_says_so(cli, model, photos):
    (photos / "broken.jpg").write_bytes(b"nonsense")
    missing = photos / "missing.jpg"
    out, err = detect(cli, model, photos, missing, "--json", code=1)
    assert len(json.loads(out)) == 3
    assert err.count("\n") == 2
    assert "broken.jpg" in err
    assert "missing.jpg" in err


def test_wrong_inputs_are_one_line(cli, tmp_path, model):
    (tmp_path / "empty").mkdir()
    assert "holds no images" in cli.fail(["detect", model, tmp_path / "empty"])
    cli.run(["detect", model], 2)  # no images
    cli.run(["detect", model, "a.jpg", "--frames", 0], 2)


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("https://me:secret@example.org/a.jpg", "fetch it first: curl -LO URL"),
        ("http://example.org/v.mp4", "fetch it first: curl -LO URL"),
        ("s3://bucket/a.jpg", "fetch it first: aws s3 cp URL FILE"),
    ],
)
def test_urls_are_refused_with_the_remedy_and_without_their_secrets(cli, model, url, remedy):
    err = cli.fail(["detect", model, url], 2)
    assert "read from files of this machine, got a URL" in err
    assert remedy in err
    assert "secret" not in err


def test_faces_are_aligned_if_the_model_has_key_points(cli, tmp_path, model, photos):
    crops = tmp_path / "crops"
    assert detect(cli, model, photos / "a.png", "--crop", crops).err == ""
    count = len(as_json(cli, model, photos / "a.png")[0]["boxes"])
    assert files(crops) == sorted(f"a_{number}.png" for number in range(1, count + 1))
    assert {read_size(path) for path in crops.iterdir()} == {(112, 112)}


def test_without_key_points_faces_are_cut_along_the_boxes(cli, tmp_path, photos):
    plain = replace(TINY, head=replace(HEAD, keypoints=0))
    model, crops = tiny.save_eager(tmp_path / "plain.pt", plain), tmp_path / "crops"
    err = detect(cli, model, photos / "a.png", "--crop", crops).err
    assert err == "the model has no key points: crops are cut along the boxes, unaligned\n"
    x1, y1, x2, y2, _ = as_json(cli, model, photos / "a.png")[0]["boxes"][0]
    left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
    right, bottom = min(60, int(np.ceil(x2))), min(40, int(np.ceil(y2)))
    expected = read_image(photos / "a.png")[top:bottom, left:right]
    np.testing.assert_array_equal(read_image(crops / "a_1.png"), expected)


def test_a_video_has_an_entry_for_each_frame_and_one_row(cli, tmp_path, model, clip):
    found = as_json(cli, model, clip)
    assert [(entry["frame"], entry["seconds"]) for entry in found] == [(1, 0), (2, 0.1), (3, 0.2)]
    assert len(as_json(cli, model, clip, "--frames", 2)) == 2
    out, crops = tmp_path / "drawn", tmp_path / "crops"
    printed = detect(cli, model, clip, "--out", out, "--crop", crops)
    faces = sum(len(entry["boxes"]) for entry in found)
    assert printed.out.splitlines()[-1].split()[-3:-1] == ["3", str(faces)]
    assert files(out) == ["v.mp4"]
    assert len(files(crops)) == faces
    assert files(crops)[0] == "v/000001_1.png"
    with open_video(out / "v.mp4") as video:
        drawn = list(video.frames)
    assert (len(drawn), video.fps, drawn[0].shape) == (3, 10, (40, 60, 3))


def test_a_video_that_is_cut_short_is_said_to_be(cli, model, clip, monkeypatch):
    class Capture:  # not a subclass: OpenCV's types cannot be collected then
        def __init__(self, *source):
            self.inner = usual(*source)

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def get(self, key):
            return 9.0 if key == cv2.CAP_PROP_FRAME_COUNT else self.inner.get(key)

    usual = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    err = detect(cli, model, clip).err
    assert err.endswith("only 3 of 9 frames could be decoded; is the file cut short?\n")


def interrupt_after(monkeypatch, frames):
    """Press Ctrl-C in the detection of the frame after so many."""
    from trials.evaluation.face_detector import FaceDetector

    usual, calls = FaceDetector.detect, []

    def pressed(self, image):
        calls.append(1)
        if len(calls) > frames:
            raise KeyboardInterrupt
        return usual(self, image)

    monkeypatch.setattr(FaceDetector, "detect", pressed)


def test_ctrl_c_in_a_video_leaves_no_file(cli, tmp_path, model, clip, monkeypatch):
    interrupt_after(monkeypatch, 2)
    out = tmp_path / "drawn"
    assert detect(cli, model, clip, "--out", out, code=130).out == ""
    assert files(out) == []


def test_ctrl_c_ends_a_recording_of_a_camera_and_keeps_it(cli, tmp_path, model, clip, monkeypatch):
    monkeypatch.chdir(tmp_path)
    usual = cv2.VideoCapture
    camera = type("Camera", (), {"__new__": lambda cls, source, *_: usual(_path(source, clip))})
    monkeypatch.setattr(cv2, "VideoCapture", camera)
    interrupt_after(monkeypatch, 2)
    out, err = detect(cli, model, 0, "--out", tmp_path / "drawn")
    assert err == "camera 0: Ctrl-C ends the recording\n"
    assert out.splitlines()[-1].split()[:3] == ["camera", "0", "2"]
    assert files(tmp_path / "drawn") == ["camera0.mp4"]


def _path(source, clip):
    return str(clip) if source == 0 else source


def test_a_camera_that_is_missing_is_one_line(cli, tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    err = cli.fail(["detect", model, 99])
    assert err.startswith("error: camera 99: cannot be opened (there is no such camera")
