"""ONNX files that keep their weights in files beside them."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from small_networks import noise, randomised

from search_spaces.errors import DataError
from trials.convert import convert_model
from trials.evaluation.face_detector import FaceDetector
from trials.onnx.export import onnx_bytes
from trials.onnx.model_content import model_content
from trials.onnx.runtime import OnnxDetector

WHOLE = onnx_bytes(randomised("basic"))


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Return a model in its own folder with all weights in `w.data` beside it."""
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "m.onnx"
    model = onnx.load_from_string(WHOLE)
    onnx.save(model, path, save_as_external_data=True, location="w.data", size_threshold=0)
    assert path.stat().st_size < len(WHOLE) // 2
    return path


def moved(path: Path, **entries: str) -> Path:
    """Change entries such as the location of all weights."""
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            entry.value = entries.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_model_with_weights_beside_it_is_the_same_from_any_folder(
    split: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = tmp_path / "whole.onnx"
    whole.write_bytes(WHOLE)
    images = noise(1, 3, 64, 64)
    relative = Path("models/m.onnx")
    for got, wanted in zip(
        OnnxDetector(relative)(images), OnnxDetector(whole)(images), strict=True
    ):
        assert all((a == b).all() for a, b in zip(got or [], wanted or [], strict=True))
    assert convert_model(split, tmp_path / "m.pt").difference < 1e-5
    image = np.full((40, 40, 3), 90, np.uint8)
    found = [
        FaceDetector(p, image_size=64, score_threshold=0).detect(image) for p in (split, whole)
    ]
    np.testing.assert_array_equal(found[0].boxes_N4, found[1].boxes_N4)


def test_a_model_in_one_file_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(WHOLE)
    assert model_content(tmp_path / "m.onnx") == WHOLE


@pytest.mark.parametrize("location", ["../outside.data", "/absolute", "link.data", "a/../../x"])
@pytest.mark.parametrize("call", [OnnxDetector, FaceDetector, model_content])
def test_weights_outside_of_the_models_folder_are_refused(
    split: Path, location: str, call: type
) -> None:
    outside = split.parent.parent / "outside.data"
    outside.write_bytes((split.parent / "w.data").read_bytes())
    (split.parent / "link.data").symlink_to(outside)
    location = str(outside) if location == "/absolute" else location
    with pytest.raises(DataError, match=r"m.onnx: keeps weights in '.*not in the model's folder"):
        call(moved(split, location=location))


def test_links_within_the_folder_and_folders_below_are_read(split: Path) -> None:
    (split.parent / "below").mkdir()
    os.replace(split.parent / "w.data", split.parent / "below/x")
    (split.parent / "link").symlink_to("below/x")
    for location in ("below/x", "link", "./below/../link"):
        assert OnnxDetector(moved(split, location=location)).has_keypoints


@pytest.mark.parametrize("location", ["none.data", "", "n" * 5000, "a\0b", "folder"])
def test_a_missing_file_of_weights_is_named(split: Path, location: str) -> None:
    (split.parent / "folder").mkdir()
    with pytest.raises(DataError, match=r"m.onnx: keeps weights in "):
        model_content(moved(split, location=location))


def test_a_file_of_weights_that_is_cut_short_is_named(
    split: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with (split.parent / "w.data").open("r+b") as stream:
        stream.truncate(100)
    with pytest.raises(DataError, match=r"'w.data' are cut short: .* byte \d+, the file has 100;"):
        OnnxDetector(split)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"offset": "x"}, "is no number"),
        ({"offset": "-8"}, "are cut short"),
        ({"length": "-8"}, "may have 1 GiB"),
        ({"length": "9999999999999"}, "may have 1 GiB"),
        ({"offset": "9999999999999"}, "are cut short"),
    ],
)
def test_places_that_cannot_be_are_refused(
    split: Path, entries: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        model_content(moved(split, **entries))


def test_weights_of_other_kinds_of_nodes_are_found_too(split: Path) -> None:
    """A tensor deep in a subgraph would otherwise be looked up in the working directory."""
    model = onnx.load_from_string(WHOLE)
    tensor = onnx.TensorProto(name="t", dims=[1], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    inner = onnx.helper.make_node("Constant", [], ["c"], value=tensor)
    branch = onnx.helper.make_graph([inner], "b", [], [onnx.ValueInfoProto(name="c")])
    node = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)
    split.write_bytes(model.SerializeToString())
    with pytest.raises(DataError, match="not in the model's folder"):
        OnnxDetector(split)
