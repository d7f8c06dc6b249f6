"""Training targets of one image as tensors.

Shapes: G faces of an image, N annotated faces of which some are ignored.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from search_spaces.errors import DataError
from trials.data.labels import Faces
from trials.detection.head_layout import BOX_VALUES, NUM_KEYPOINTS


@dataclass(frozen=True, kw_only=True, eq=False)
class Targets:
    """The faces of one image that count in the loss.

    Attributes:
        boxes_G4: float32 xyxy in input pixels.
        keypoints_G53: float32 x, y in input pixels and a weight (1 known, 0 unknown), or
            None without annotations. The mean weight of a face applies to all five points.

    Raises:
        DataError: a tensor has another shape.
    """

    boxes_G4: Tensor
    keypoints_G53: Tensor | None = None

    def __post_init__(self) -> None:
        boxes, keypoints = self.boxes_G4, self.keypoints_G53
        if boxes.ndim != 2 or boxes.shape[1] != BOX_VALUES:
            raise DataError(f"target boxes must have shape (G, 4), got {tuple(boxes.shape)}")
        expected = (boxes.shape[0], NUM_KEYPOINTS, 3)
        if keypoints is not None and tuple(keypoints.shape) != expected:
            shape = tuple(keypoints.shape)
            raise DataError(f"target key points must have shape {expected}, got {shape}")

    @classmethod
    def from_faces(cls, faces: Faces) -> "Targets":
        """Return the faces that are not ignored.

        A face counts in the key-point loss if all five points are annotated (their flag is
        not negative); an occluded point counts as annotated.

        Raises:
            DataError: a box or an annotated key point is not finite.
        """
        kept_N = ~np.asarray(faces.ignored_N, dtype=bool)
        boxes_G4 = np.asarray(faces.boxes_N4, dtype=np.float32)[kept_N]
        keypoints_G53 = np.array(faces.keypoints_N53, dtype=np.float32)[kept_N]
        known_G = (keypoints_G53[:, :, 2] >= 0).all(axis=1)
        keypoints_G53[~known_G] = -1
        keypoints_G53[:, :, 2] = known_G[:, None]
        _require_finite("box", boxes_G4)
        _require_finite("key point", keypoints_G53)
        return cls(
            boxes_G4=torch.from_numpy(boxes_G4),
            keypoints_G53=torch.from_numpy(keypoints_G53) if known_G.any() else None,
        )

    def to(self, device: torch.device) -> "Targets":
        """Return the targets on `device`; the same object if they are there."""
        if self.boxes_G4.device == device:
            return self
        keypoints = self.keypoints_G53
        return Targets(
            boxes_G4=self.boxes_G4.to(device, non_blocking=True),
            keypoints_G53=None if keypoints is None else keypoints.to(device, non_blocking=True),
        )


def _require_finite(name: str, values: npt.NDArray[np.float32]) -> None:
    if not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise DataError(f"a target {name} must be finite, got {values[row].tolist()}")
