"""Checkpoints and model files: round trips, damage and kills."""

import math
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TINY, make_report

from search_spaces.architecture import Neck
from search_spaces.errors import DataError, IncomparableError
from search_spaces.network.detector import build_detector
from trials.failure import failure_of
from trials.model_file import load_model, save_model
from trials.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trials.training.progress import EpochSums, Progress
from trials.training.state import AveragedModel


def make_checkpoint(epochs: int, **sums: Any) -> Checkpoint:
    progress = Progress(
        reports=[make_report(n, 9, 0.1 * n if n > 1 else None) for n in range(1, epochs + 1)],
        duration_s=10.0 * epochs,
        images=100 * epochs,
        step_s=9.0 * epochs,
        sums=EpochSums(**sums),
    )
    state = {
        "model": {"w": torch.full((2, 3), float(epochs))},
        "optimizer": {
            "state": {0: {"momentum_buffer": torch.ones(2)}},
            "param_groups": [{"lr": 0.1}],
        },
        "average": None,
        "average_updates": 0,
        "scaler": {},
    }
    return Checkpoint(request="abc", progress=progress, state=state)


def no_warning(message: str) -> None:
    pytest.fail(f"unexpected warning: {message}")


def load(folder: Path) -> Checkpoint:
    checkpoint = load_checkpoint(folder, no_warning)
    assert checkpoint is not None
    return checkpoint


def warnings_of(folder: Path) -> list[str]:
    """Return the warnings about the files of a folder without a valid checkpoint."""
    warnings: list[str] = []
    assert load_checkpoint(folder, warnings.append) is None
    return warnings


def edit(folder: Path, **changes: Any) -> None:
    """Replace or, with None, remove entries of the newest checkpoint."""
    content = torch.load(folder / "last.pt", weights_only=True) | changes
    kept = {key: value for key, value in content.items() if value is not None}
    torch.save(kept, folder / "last.pt")


def test_a_checkpoint_is_restored_whole(tmp_path: Path) -> None:
    saved = make_checkpoint(2, iterations=3, images=12, seconds=1.5, losses=[4.0, 3.0, 1.0, 0.0])
    save_checkpoint(saved, tmp_path)
    loaded = load(tmp_path)
    assert loaded.progress == saved.progress
    assert loaded.progress.epoch == 2
    assert torch.equal(loaded.state["model"]["w"], saved.state["model"]["w"])
    assert loaded.state["optimizer"]["param_groups"] == [{"lr": 0.1}]


@pytest.mark.parametrize(
    "change",
    [
        {"reports": 5},
        {"reports": [{"epoch": 1}]},
        {"sums": None},
        {"sums": {"steps": 1}},
        {"sums": {"iterations": "3"}},
        {"sums": {"iterations": -1}},
        {"sums": {"losses": [1.0]}},
        {"sums": {"losses": [math.nan] * 4}},
        {"sums": {"seconds": math.inf}},
    ],
)
def test_a_malformed_progress_is_a_damaged_checkpoint(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    save_checkpoint(make_checkpoint(2), tmp_path)
    edit(tmp_path, progress=asdict(make_checkpoint(2).progress) | change)
    assert "last.pt: is not a whole checkpoint" in warnings_of(tmp_path)[0]


def test_another_format_is_refused(tmp_path: Path) -> None:
    save_checkpoint(make_checkpoint(1), tmp_path)
    edit(tmp_path, format="scrfd-nas checkpoint 1")
    with pytest.raises(IncomparableError, match=r"format must be .* 2', got .* 1'") as refused:
        load_checkpoint(tmp_path, no_warning)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_full_disk_is_reported_and_keeps_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(make_checkpoint(1), tmp_path)

    @contextmanager
    def full(path: object) -> Iterator[Path]:
        yield Path("/dev/full")  # every write to it fails as on a full disk

    monkeypatch.setattr("trials.model_file.replacing", full)
    with pytest.raises(OSError, match="No space left") as fault:
        save_checkpoint(make_checkpoint(2), tmp_path)
    assert failure_of(fault.value).kind == "disk"
    assert load(tmp_path).progress.epoch == 1


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, no_warning) is None


def test_only_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    for epochs in (1, 2, 3):
        save_checkpoint(make_checkpoint(epochs), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "previous.pt"]
    assert load(tmp_path).progress.epoch == 3


@pytest.mark.parametrize("keep", [0, 10, 500, 0.5, -1])
def test_a_truncated_checkpoint_falls_back_to_the_previous_one(tmp_path: Path, keep: float) -> None:
    for epochs in (1, 2):
        save_checkpoint(make_checkpoint(epochs), tmp_path)
    last = tmp_path / "last.pt"
    data = last.read_bytes()
    last.write_bytes(data[: int(len(data) * keep) if keep == 0.5 else int(keep)])
    warnings: list[str] = []
    checkpoint = load_checkpoint(tmp_path, warnings.append)
    assert checkpoint is not None
    assert checkpoint.progress.epoch == 1
    assert len(warnings) == 1
    assert "last.pt" in warnings[0]


def test_the_previous_checkpoint_is_found_after_a_kill_between_the_renames(tmp_path: Path) -> None:
    save_checkpoint(make_checkpoint(1), tmp_path)
    os.replace(tmp_path / "last.pt", tmp_path / "previous.pt")
    assert load(tmp_path).progress.epoch == 1


def test_two_damaged_checkpoints_are_two_warnings(tmp_path: Path) -> None:
    for name in ("last.pt", "previous.pt"):
        (tmp_path / name).write_bytes(b"x")
    assert len(warnings_of(tmp_path)) == 2


class Trap:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    torch.save(Trap(trap), tmp_path / "last.pt")
    (tmp_path / "previous.pt").write_bytes(pickle.dumps(Trap(trap)))
    assert len(warnings_of(tmp_path)) == 2
    assert not trap.exists()


def test_another_torch_file_and_one_with_a_missing_part_are_no_checkpoints(tmp_path: Path) -> None:
    torch.save({"model": {}}, tmp_path / "last.pt")
    assert "is not a checkpoint of this program" in warnings_of(tmp_path)[0]
    save_checkpoint(make_checkpoint(1), tmp_path)
    edit(tmp_path, optimizer=None)
    assert "is not a whole checkpoint" in warnings_of(tmp_path)[0]


def test_a_model_file_restores_the_same_network(tmp_path: Path) -> None:
    detector = build_detector(TINY, torch.Generator().manual_seed(3)).eval()
    save_model(tmp_path / "m.pt", TINY, detector.state_dict(), {"epoch": 3})
    architecture, loaded = load_model(tmp_path / "m.pt")
    assert architecture == TINY
    assert not loaded.training
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for one, other in zip(detector(images).scores, loaded(images).scores, strict=True):
            assert torch.equal(one, other)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    wide = replace(TINY, neck=Neck(width=16))
    save_model(tmp_path / "m.pt", wide, build_detector(TINY).state_dict())
    with pytest.raises(DataError, match=r"m.pt: the weights do not fit the architecture"):
        load_model(tmp_path / "m.pt")


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_missing_and_other_files_are_no_model_files(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "m.pt"
    with pytest.raises(DataError, match=r"m.pt: cannot be read \(No such file"):
        load_model(path)
    if content is None:
        torch.save({"state_dict": {}}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(DataError, match=r"m\.pt: is "):
        load_model(path)


def test_the_moving_average_follows_its_definition_and_copies_counters() -> None:
    model = torch.nn.BatchNorm2d(1)
    average = AveragedModel(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
        assert model.num_batches_tracked is not None
        model.num_batches_tracked.fill_(7)
    average.update(model)  # share of the old: min(0.5, 2 / 11)
    assert average.module.weight.item() == pytest.approx(1.0 * 2 / 11 + 3.0 * 9 / 11)
    assert average.module.num_batches_tracked == 7
    for _ in range(9):
        average.update(model)
    before = average.module.weight.item()
    average.update(model)  # by now (1 + n) / (10 + n) is above 0.5
    assert average.module.weight.item() == pytest.approx((before + 3.0) / 2)
