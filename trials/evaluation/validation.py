"""The WIDER FACE AP of a detector on the validation part of a data set."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from search_spaces.errors import DataError
from search_spaces.network.detector import Detector
from trials.data.ground_truth import Truth, require_faces
from trials.data.holdout import load_holdout
from trials.data.labels import read_labelv2
from trials.data.widerface_mat import read_ground_truth
from trials.detection.decoding import NMS_THRESHOLD, SCORE_THRESHOLD, Detections
from trials.detection.folding import folded
from trials.device import available_cores
from trials.evaluation.inference import Predict, Thresholds, detect_files, input_size
from trials.evaluation.widerface_ap import evaluate
from trials.result import APs

MOST_READERS = 8
GPU_BATCH = 8
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What an evaluation gives.

    Attributes:
        aps: average precisions as fractions; 0 for a subset in which no face counts.
        predictions: image name `event/file` -> (N, 5) float64 x, y, width, height, score in
            pixels of the image, best score first.
        face_counts: how many faces count in `easy`, `medium`, `hard`.
    """

    aps: APs
    predictions: Mapping[str, NDArray[np.float64]]
    face_counts: Mapping[str, int]

    @property
    def easy(self) -> float:
        """Easy AP."""
        return self.aps.easy

    @property
    def medium(self) -> float:
        """Medium AP."""
        return self.aps.medium

    @property
    def hard(self) -> float:
        """Hard AP."""
        return self.aps.hard


def evaluate_detector(
    detector: Predict,
    data_root: str | os.PathLike[str],
    *,
    mode: str = "vga",
    image_size: int = 640,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
    score_threshold: float = SCORE_THRESHOLD,
    nms_threshold: float = NMS_THRESHOLD,
    progress: Progress | None = None,
    split: str = "val",
    readers: int | None = None,
    held_out: float = 0.0,
) -> Evaluation:
    """Evaluate on the images that `<data_root>/<split>/gt` knows, or on held-out ones.

    Args:
        detector: a `Detector`, of which a copy is used (see `trials.detection.folding`); another
            torch module (moved to `device`, evaluated in evaluation mode, and put back into its
            mode); or any function from images to head outputs.
        data_root: holds `<split>/images`, `<split>/labelv2.txt` and `<split>/gt/*.mat`.
        mode: see `trials.evaluation.inference.input_size`.
        image_size: long side in pixels for mode `vga`.
        device: where the detector computes.
        batch_size: images at once; None: `usual_batch_size`.
        score_threshold: as in the WIDER FACE protocol.
        nms_threshold: likewise.
        progress: called with (images done, images) after each image.
        split: folder of the images.
        readers: threads that decode ahead; None: none beside a CPU detector, which uses all
            cores itself, up to 8 beside a GPU.
        held_out: evaluate on this share of the training images (see `trials.data.holdout`)
            instead of a split.

    Raises:
        DataError: missing or broken images, labels or ground truth; no face counts.
        TrialError: the detector's outputs are not numbers.
    """
    truth, paths = load_evaluated(data_root, split, held_out)
    device = torch.device(device)
    if readers is None:
        readers = 0 if device.type == "cpu" else min(MOST_READERS, available_cores())
    predictions: dict[str, NDArray[np.float64]] = {}
    with _ready(detector, device) as predict:
        found = detect_files(
            predict,
            paths,
            input_size(mode, image_size),
            thresholds=Thresholds(score=score_threshold, nms=nms_threshold),
            device=device,
            batch_size=usual_batch_size(device) if batch_size is None else batch_size,
            readers=readers,
        )
        for name, detections in zip(truth.names, found, strict=True):
            predictions[name] = to_rows(detections)
            if progress is not None:
                progress(len(predictions), len(paths))
    aps = evaluate(predictions, truth)
    return Evaluation(aps=aps, predictions=predictions, face_counts=truth.face_counts)


def usual_batch_size(device: torch.device) -> int:
    """8 on a GPU; 1 on a CPU, whose caches hold the feature maps of one image only."""
    return GPU_BATCH if device.type == "cuda" else 1


@contextmanager
def _ready(detector: Predict, device: torch.device) -> Iterator[Predict]:
    """The detector as it is fastest at inference, on `device`."""
    if isinstance(detector, Detector):
        yield folded(detector).to(device)
    elif isinstance(detector, nn.Module):
        was_training = detector.training
        detector.to(device).eval()
        try:
            yield detector
        finally:
            detector.train(was_training)
    else:
        yield detector


def load_evaluated(
    data_root: str | os.PathLike[str], split: str = "val", held_out: float = 0.0
) -> tuple[Truth, list[Path]]:
    """Ground truth and paths of the held-out images, or, where none are, of a split.

    Raises:
        DataError: as `load_validation` and `trials.data.holdout.load_holdout`.
    """
    return load_holdout(data_root, held_out) if held_out else load_validation(data_root, split)


def load_validation(
    data_root: str | os.PathLike[str], split: str = "val"
) -> tuple[Truth, list[Path]]:
    """The ground truth of a split and the path of each of its images.

    The label file says where the images are; where there is none, they are looked for as
    `images/<event>/<name>.jpg`, as WIDER FACE has them.

    Raises:
        DataError: a file is missing or malformed; an image of the ground truth is not in the
            label file; no face counts as hard, so that nothing can be measured.
    """
    folder = Path(data_root) / split
    truth = read_ground_truth(folder / "gt")
    require_faces(truth, str(folder / "gt"))
    labels = folder / "labelv2.txt"
    if not labels.exists():
        return truth, [folder / "images" / f"{name}.jpg" for name in truth.names]
    paths = {
        image.name.removesuffix(Path(image.name).suffix): image.path
        for image in read_labelv2(labels, folder / "images")
    }
    for name in truth.names:
        if name not in paths:
            raise DataError(f"{labels}: lacks {name}, which the ground truth beside it has")
    return truth, [paths[name] for name in truth.names]


def to_rows(detections: Detections) -> NDArray[np.float64]:
    """Detections as WIDER FACE rows (N, 5): x, y, width, height, score."""
    boxes_N4 = detections.boxes_N4.astype(np.float64)
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    return np.column_stack((boxes_N4[:, :2], sides_N2, detections.scores_N.astype(np.float64)))
