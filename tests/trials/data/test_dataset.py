"""Images of a split, and which of them can be trained on."""

from pathlib import Path

import pytest

from search_spaces.errors import ConfigError, DataError
from trials.data.dataset import FaceDataset, count_images, describe_left_out


def test_a_split_that_is_not_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train/labelv2.txt: there is no such label file"):
        FaceDataset(tmp_path, "train")
    with pytest.raises(ConfigError, match="split must be one of train, val, got 'test'"):
        FaceDataset(tmp_path, "test")


def test_images_without_countable_faces_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    text = "# a.jpg 9 9\n# b.jpg 9 9\n1 1 5 5 1\n# c.jpg 9 9\n1 1 1 5\n# d.jpg 9 9\n1 1 5 5\n"
    (tmp_path / "train/labelv2.txt").write_text(text)
    assert len(FaceDataset(tmp_path, "train")) == 4
    assert [i.name for i in FaceDataset(tmp_path, "train", faceless=False).images] == ["d.jpg"]
    (tmp_path / "train/labelv2.txt").write_text("# a.jpg 9 9\n")
    with pytest.raises(DataError, match="no image with a face that counts"):
        FaceDataset(tmp_path, "train", faceless=False)


def test_what_training_leaves_out_is_counted(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    label_file = tmp_path / "train" / "labelv2.txt"
    label_file.write_text(
        "# a.jpg 9 9\n1 1 5 5\n# b.jpg 9 9\n# c.jpg 9 9\n1 2 x\n# d.jpg 9 9\n1 1 4 4\n"
    )
    assert describe_left_out(tmp_path) == (
        "training leaves out 2 of 4 images (50.0 %): 1 with faulty labels, 1 without a face that "
        "counts"
    )
    label_file.write_text("# a.jpg 9 9\n1 1 5 5\n")
    assert describe_left_out(tmp_path) == ""


def test_images_are_counted_without_parsing_labels(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "images" / "event").mkdir(parents=True)
        (tmp_path / split / "images" / "event" / "a.jpg").touch()
    (tmp_path / "train" / "labelv2.txt").write_text("# a.jpg 9 9\n1 1 x 5\n" * 10)
    assert count_images(tmp_path) == (10, 1)
    (tmp_path / "val" / "labelv2.txt").write_text("# a.jpg 9 9\n# b.jpg 9 9\n")
    assert count_images(tmp_path) == (10, 2)
    assert count_images(tmp_path, held_out=0.3) == (7, 3)
