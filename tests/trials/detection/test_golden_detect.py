"""Detections of the released weights, in torch and in onnxruntime, against the demo program."""

import numpy as np
import pytest
import torch

from trials.convert import convert_model
from trials.device import limited_threads
from trials.evaluation.face_detector import FaceDetector
from trials.model_file import load_model
from trials.onnx.export import flat_outputs

NAMES = ("scrfd_0.5g", "scrfd_2.5g", "scrfd_2.5g_kps")
PIXELS, SCORE = 0.05, 1e-4
SQUARE_IMAGES = (0, 2, 5, 8)
NONSQUARE_IMAGES = range(5)


@pytest.fixture(scope="module", params=NAMES, name="model")
def _model(request, shared_dir, tmp_path_factory):
    """Return the name, the converted file and the released file."""
    released = shared_dir / "weights" / f"{request.param}.onnx"
    converted = tmp_path_factory.mktemp("converted") / "m.pt"
    convert_model(released, converted)
    return request.param, converted, released


@pytest.fixture(params=["torch", "onnxruntime"], name="path")
def _path(request, model):
    _, converted, released = model
    return converted if request.param == "torch" else released


@pytest.fixture(autouse=True)
def _one_thread():
    with limited_threads(1):
        yield


@pytest.fixture(name="nonsquare")
def _nonsquare(golden_dir, model):
    """Return the golden detections and the RGB images, which are not square."""
    with np.load(golden_dir / "detect_nonsquare_scrfd_0.5g.npz") as file:
        images = [np.ascontiguousarray(file[f"img_{i}"][:, :, ::-1]) for i in NONSQUARE_IMAGES]
    with np.load(golden_dir / f"detect_nonsquare_{model[0]}.npz") as file:
        return {key: file[key] for key in file.files if not key.startswith("img")}, images


def assert_same(found, wanted_N5, keypoints_N52=None):
    """Assert that every face has its own golden partner within the tolerances."""
    assert len(found) == len(wanted_N5)
    if not len(found):
        return
    distance = np.abs(found.boxes_N4[:, None] - wanted_N5[None, :, :4]).max(axis=-1)
    distance += np.abs(found.scores_N[:, None] - wanted_N5[None, :, 4])
    partner = distance.argmin(axis=1)
    assert len(set(partner.tolist())) == len(partner)
    np.testing.assert_allclose(found.boxes_N4, wanted_N5[partner, :4], rtol=0, atol=PIXELS)
    np.testing.assert_allclose(found.scores_N, wanted_N5[partner, 4], rtol=0, atol=SCORE)
    assert (found.keypoints_N52 is None) == (keypoints_N52 is None)
    if keypoints_N52 is not None:
        wanted = keypoints_N52[partner]
        np.testing.assert_allclose(found.keypoints_N52, wanted, rtol=0, atol=PIXELS)


def test_square_images(golden_dir, model, path):
    detector = FaceDetector(path, score_threshold=0.02, threads=1)
    with np.load(golden_dir / f"detect_{model[0]}.npz") as file:
        for index in SQUARE_IMAGES:
            found = detector.detect(golden_dir / "images" / str(file["names"][index]))
            points = file[f"kps_{index}"] if f"kps_{index}" in file.files else None
            assert_same(found, file[f"det_{index}"], points)


@pytest.mark.parametrize(
    ("case", "settings", "max_faces"),
    [
        ("", {"score_threshold": 0.02}, None),
        ("_t0.5_max2", {"score_threshold": 0.5}, 2),
        ("_t0.3_in320x480", {"score_threshold": 0.3, "image_size": (480, 320)}, None),
    ],
)
def test_images_that_are_not_square(nonsquare, path, case, settings, max_faces):
    golden, images = nonsquare
    detector = FaceDetector(path, threads=1, **settings)
    for index, image in enumerate(images):
        found = detector.detect(image, max_faces=max_faces)
        points = found.keypoints_N52 if case else golden.get(f"kps_{index}")
        assert_same(found, golden[f"det{case}_{index}"], points)


def test_raw_outputs(golden_dir, model):
    _, network = load_model(model[1])
    with np.load(golden_dir / f"detect_{model[0]}.npz") as file:
        outputs = flat_outputs(network, torch.from_numpy(file["blob_0"]))
        names = [str(name) for name in file["output_names"]]
        assert len(names) == len(outputs)
        for name, values in zip(names, outputs, strict=True):
            wanted = file[f"raw_0__{name}"]
            np.testing.assert_allclose(values.numpy(), wanted, rtol=0, atol=5e-5, err_msg=name)
