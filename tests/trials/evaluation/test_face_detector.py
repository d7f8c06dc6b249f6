"""Face detection in single images."""

from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from search_spaces.architecture import Head
from search_spaces.errors import ConfigError, DataError, TrialError
from search_spaces.network.detector import build_detector
from trials.data.images import write_image
from trials.detection.decoding import Detections, Thresholds
from trials.evaluation.face_detector import FaceDetector
from trials.evaluation.inference import detect_images, input_size
from trials.model_file import save_model
from trials.onnx.export import export_onnx

TINY = replace(tiny.TINY, head=Head(convs=1, width=8, norm="batch", shared=False, keypoints=5))


def network(bias=2.0):
    """Return a detector that finds faces everywhere, or nowhere with a low bias."""
    detector = build_detector(TINY, torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for conv in (*detector.head.scores, *detector.head.boxes):
            conv.weight *= 100
            conv.bias.fill_(bias)
    return detector


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    detector = network()
    save_model(folder / "m.pt", TINY, detector.state_dict())
    save_model(folder / "blind.pt", TINY, network(-9.0).state_dict())
    export_onnx(detector, folder / "m.onnx")
    export_onnx(detector, folder / "fixed.onnx", (64, 96))
    return folder


def photo(height=50, width=70):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def detect(model, image, image_size=64, **settings):
    return FaceDetector(model, image_size=image_size, **settings).detect(image)


def network_input(folder, image, **settings):
    """Return the network's input for an image."""
    detector, inputs = FaceDetector(folder / "blind.pt", **settings), []
    predict = detector._predict
    detector._predict = lambda images_B3HW: inputs.append(images_B3HW) or predict(images_B3HW)
    detector.detect(image)
    return inputs[0]


def white(height, width):
    return np.full((height, width, 3), 255, np.uint8)


def test_the_demo_pads_with_black_at_the_right_and_the_bottom(folder):
    wide = network_input(folder, white(50, 100), image_size=64)
    assert wide.shape == (1, 3, 64, 64)
    assert bool((wide[:, :, :32] == 127.5 / 128).all())  # 100 x 50 becomes 64 x 32
    assert bool((wide[:, :, 32:] == -127.5 / 128).all())
    tall = network_input(folder, white(100, 50), image_size=(64, 96))
    assert tall.shape == (1, 3, 64, 96)
    assert bool((tall[:, :, :, :32] > 0).all())
    assert bool((tall[:, :, :, 32:] < 0).all())


def test_sides_are_rounded_down_and_padded_to_whole_cells(folder):
    image = network_input(folder, white(30, 100), image_size=64)
    assert int((image[0, 0, :, 0] > 0).sum()) == 19  # 64 * 30 / 100 = 19.2
    image = network_input(folder, white(50, 50), image_size=50)
    assert image.shape == (1, 3, 64, 64)
    assert int((image[0, 0, :, 0] > 0).sum()) == 50


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1)])
def test_extreme_images_are_handled(folder, shape):
    assert np.isfinite(detect(folder / "m.pt", photo(*shape)).boxes_N4).all()


def test_torch_and_onnx_find_the_same_in_pixels_and_in_a_file(folder, tmp_path):
    write_image(tmp_path / "p.png", photo())
    ours = detect(folder / "m.pt", photo(), 96)
    theirs = detect(folder / "m.onnx", tmp_path / "p.png", 96)
    assert len(ours) == len(theirs) > 0
    np.testing.assert_allclose(ours.boxes_N4, theirs.boxes_N4, atol=1e-3)
    assert ours.keypoints_N52.shape == (len(ours), 5, 2)


def test_a_file_of_one_size_decides_the_size(folder):
    detector = FaceDetector(folder / "fixed.onnx", image_size=640)
    assert detector.image_size == (64, 96)
    assert len(detector.detect(photo())) > 0


def test_thresholds_are_inclusive(folder):
    best = float(detect(folder / "m.pt", photo()).scores_N.max())
    found = detect(folder / "m.pt", photo(), score_threshold=best)
    assert len(found) >= 1
    assert float(found.scores_N.min()) == best


def test_a_higher_nms_threshold_keeps_more(folder):
    low, middle, high = (
        len(detect(folder / "m.pt", photo(), 96, nms_threshold=limit)) for limit in (0.0, 0.4, 1.0)
    )
    assert low < middle < high


def test_no_faces_are_an_empty_result(folder):
    found = detect(folder / "blind.pt", photo())
    assert (len(found), found.boxes_N4.shape) == (0, (0, 4))
    assert found.keypoints_N52.shape == (0, 5, 2)


def test_prominent_faces_are_large_and_central(folder, monkeypatch):
    corner = [0.0, 0.0, 20.0, 20.0]  # area 400, centre (10, 10): 400 - 2 * (40^2 + 40^2)
    middle = [45.0, 45.0, 55.0, 55.0]  # area 100 at the centre
    large = [20.0, 20.0, 70.0, 70.0]  # area 2500, 2500 - 2 * (5^2 + 5^2) = 2400
    found = Detections(
        boxes_N4=np.array([corner, middle, large], np.float32),
        scores_N=np.array([0.9, 0.8, 0.7], np.float32),
    )
    monkeypatch.setattr("trials.evaluation.face_detector.decode", lambda *_, **__: [found])
    detector = FaceDetector(folder / "m.pt", image_size=64)
    image = np.zeros((100, 100, 3), np.uint8)
    monkeypatch.setattr(Detections, "scaled", lambda self, x, y: self)
    assert detector.detect(image).scores_N.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert detector.detect(image, max_faces=2).scores_N.tolist() == pytest.approx([0.7, 0.8])
    assert len(detector.detect(image, max_faces=3)) == 3


def test_the_widerface_protocol_is_that_of_the_evaluation(folder):
    image = photo(80, 60)
    settings = {"image_size": 64, "score_threshold": 0.3, "protocol": "widerface"}
    found = FaceDetector(folder / "m.pt", **settings).detect(image)
    limits = Thresholds(score=0.3, nms=0.45)
    (wanted,) = detect_images(network(), [image], input_size("64"), thresholds=limits)
    np.testing.assert_array_equal(found.boxes_N4, wanted.boxes_N4)
    best = FaceDetector(folder / "m.pt", **settings).detect(image, max_faces=1)
    assert best.scores_N.tolist() == [found.scores_N.max()]


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("m.pt", {"protocol": "coco"}, "protocol must be one of demo, widerface, got 'coco'"),
        ("m.pt", {"score_threshold": -0.1}, "score threshold must be from 0 to 1"),
        ("m.pt", {"score_threshold": float("nan")}, "score threshold must be from 0 to 1"),
        ("m.pt", {"nms_threshold": 1.5}, "NMS threshold must be from 0 to 1"),
        ("m.pt", {"image_size": 8}, "image size must be 32 to 8192 pixels, got 8 x 8"),
        ("m.pt", {"image_size": (640, 10**9)}, "image size must be"),
        ("m.pt", {"device": "tpu"}, "device must be"),
        ("m.onnx", {"device": "cuda"}, "runs on the CPU"),
    ],
)
def test_bad_settings_are_refused(folder, model, settings, message):
    with pytest.raises(ConfigError, match=message):
        FaceDetector(folder / model, **settings)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
    ids=["grey", "float", "empty"],
)
def test_other_arrays_are_refused(folder, image):
    with pytest.raises(DataError, match="uint8 RGB array"):
        detect(folder / "m.pt", image)


@pytest.mark.parametrize("name", ["m.pt", "m.onnx"])
def test_damaged_models_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"nonsense")
    with pytest.raises(DataError, match=name):
        FaceDetector(tmp_path / name)
    with pytest.raises(DataError, match="missing"):
        FaceDetector(tmp_path / f"missing{name[1:]}")


def test_a_diverged_model_is_an_error(tmp_path):
    weights = {name: value.clone() for name, value in network().state_dict().items()}
    weights["head.scores.0.bias"].fill_(float("nan"))
    save_model(tmp_path / "m.pt", TINY, weights)
    with pytest.raises(TrialError, match="not numbers"):
        detect(tmp_path / "m.pt", photo())


@pytest.mark.parametrize("image", [[1, 2], None, 3, b"x", {"a": 1}, [[photo()]], (photo(), None)])
def test_what_is_no_image_is_a_type_error_that_says_what_is_taken(folder, image):
    detector = FaceDetector(folder / "blind.pt", device="cpu")
    taken = "detect takes the path of an image, a uint8 RGB array .* or a list of these, got "
    with pytest.raises(TypeError, match=taken):
        detector.detect(image)


def assert_same(found, expected, **tolerance):
    assert len(found) == len(expected) > 0
    for name in ("boxes_N4", "scores_N", "keypoints_N52"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), **tolerance)


@pytest.mark.parametrize("protocol", ["demo", "widerface"])
def test_a_list_gives_the_results_of_single_calls_in_order(folder, tmp_path, protocol):
    write_image(tmp_path / "p.png", photo(30, 90))
    images = [photo(50, 70), tmp_path / "p.png", str(tmp_path / "p.png"), photo(120, 40)]
    detector = FaceDetector(folder / "m.pt", image_size=64, protocol=protocol)
    found = detector.detect(images)
    assert len(found) == 4
    for each, image in zip(found, images, strict=True):
        assert_same(each, detector.detect(image), rtol=0)
    assert_same(detector.detect(tuple(images))[3], found[3], rtol=0)
    assert detector.detect([]) == []
    assert [len(each) for each in detector.detect(images, max_faces=1)] == [1, 1, 1, 1]


def test_batches_hold_several_images_but_no_more_pixels_than_usual(folder, monkeypatch):
    monkeypatch.setattr("trials.evaluation.face_detector.usual_batch_size", lambda _: 3)
    images = [photo(50, 70 + 10 * number) for number in range(4)]
    for size, batches in ((64, [3, 1]), (896, [1, 1, 1, 1])):  # 3 * 640^2 / 896^2 = 1.5
        detector, seen = FaceDetector(folder / "m.pt", image_size=size), []
        predict = detector._predict

        def counted(images_B3HW, predict=predict, seen=seen):
            seen.append(len(images_B3HW))
            return predict(images_B3HW)

        detector._predict = counted
        found = detector.detect(images)
        assert seen == batches
        if size == 64:
            for each, image in zip(found, images, strict=True):
                assert_same(each, detector.detect(image), atol=1e-3)


def test_an_image_of_pillow_is_converted(folder):
    class Pillow:
        def convert(self, mode):
            assert mode == "RGB"
            return photo()

    assert_same(detect(folder / "m.pt", Pillow()), detect(folder / "m.pt", photo()), rtol=0)


def test_a_built_in_name_has_no_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"scrfd_2\.5g is a built-in architecture without weights"
    ):
        FaceDetector("scrfd_2.5g")
