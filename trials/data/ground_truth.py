"""Ground truth of a set of images in memory: its faces, and which of them count.

Shape legend: I images, F faces of all images together, G faces of one image.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search_spaces.errors import DataError
from trials.result import SUBSETS


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """Annotated faces of a set of images, stored end to end.

    Attributes:
        names: (I) image names `event/file`, without suffix, distinct.
        boxes_F4: float64 x, y, width, height in pixels, image after image.
        offsets: (I + 1) int64; the faces of image i are `boxes_F4[offsets[i]:offsets[i + 1]]`.
        counted_F3: bool; whether the face counts in easy, medium, hard.

    Raises:
        DataError: shapes that do not fit together, repeated names, boxes that are not finite.
    """

    names: tuple[str, ...]
    boxes_F4: NDArray[np.float64]
    offsets: NDArray[np.int64]
    counted_F3: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        faces = len(self.boxes_F4)
        if self.boxes_F4.shape != (faces, 4) or self.counted_F3.shape != (faces, len(SUBSETS)):
            raise DataError(
                "ground truth needs boxes (F, 4) and counted (F, 3), got "
                f"{self.boxes_F4.shape} and {self.counted_F3.shape}"
            )
        steps = np.diff(self.offsets)
        if len(steps) != len(self.names) or self.offsets[0] != 0 or self.offsets[-1] != faces:
            raise DataError(
                f"ground truth offsets must run from 0 to {faces} over {len(self.names)} images"
            )
        if (steps < 0).any():
            raise DataError("ground truth offsets must not decrease")
        if not np.isfinite(self.boxes_F4).all():
            face = int((~np.isfinite(self.boxes_F4).all(axis=1)).argmax())
            image = np.searchsorted(self.offsets, face, "right") - 1
            raise DataError(f"ground truth of {self.names[image]}: a box is not finite")
        if len(set(self.names)) != len(self.names):
            repeated = Counter(self.names).most_common(1)[0][0]
            raise DataError(f"ground truth lists {repeated} twice; names must be distinct")

    def boxes(self, image: int) -> NDArray[np.float64]:
        """Return the boxes (G, 4) of image number `image`, xywh, as a view."""
        return self.boxes_F4[self.offsets[image] : self.offsets[image + 1]]

    def counted(self, image: int) -> NDArray[np.bool_]:
        """Return whether each face of an image counts: (G, 3), easy, medium, hard."""
        return self.counted_F3[self.offsets[image] : self.offsets[image + 1]]

    @property
    def face_counts(self) -> dict[str, int]:
        """Number of faces that count in each subset."""
        return dict(zip(SUBSETS, self.counted_F3.sum(axis=0).tolist(), strict=True))


def to_xywh(boxes_N4: ArrayLike) -> NDArray[np.float64]:
    """Return boxes x1, y1, x2, y2 as x, y, width, height (N, 4)."""
    corners_N4 = np.asarray(boxes_N4, np.float64)
    return np.concatenate([corners_N4[:, :2], corners_N4[:, 2:] - corners_N4[:, :2]], axis=1)


def make_truth(
    images: Mapping[str, ArrayLike], **counted: Mapping[str, Sequence[int] | NDArray[np.integer]]
) -> Truth:
    """Return the ground truth of boxes (xywh) and 0-based indices of the faces that count.

    Args:
        images: name `event/file` (no suffix) -> boxes (G, 4) xywh pixels; G may be 0.
        counted: `easy=`, `medium=`, `hard=`: name -> indices; a missing name means none.

    Raises:
        DataError: an index out of range or repeated, an unknown name, malformed boxes.
    """
    names = tuple(images)
    boxes = [box_array(box, name) for name, box in images.items()]
    offsets = np.cumsum([0, *map(len, boxes)], dtype=np.int64)
    flags = np.zeros((int(offsets[-1]), len(SUBSETS)), dtype=bool)
    for column, subset in enumerate(SUBSETS):
        lists = counted.get(subset, {})
        if unknown := sorted(set(lists) - set(names)):
            raise DataError(f"{subset} names an image that has no boxes: {unknown[0]}")
        chosen = [np.asarray(lists.get(name, ()), dtype=np.int64) for name in names]
        flags[:, column] = count_flags(chosen, offsets, names, subset, base=0)
    return Truth(
        names=names,
        boxes_F4=np.concatenate([np.zeros((0, 4)), *boxes]),
        offsets=offsets,
        counted_F3=flags,
    )


def require_faces(truth: Truth, source: str) -> None:
    """Raise DataError if no face counts as hard, since no AP can be computed then."""
    if not truth.face_counts["hard"]:
        raise DataError(f"{source}: no face counts as hard, so that no AP can be computed")


def split_name(name: str, source: str = "image name") -> tuple[str, str]:
    """Return the two parts of a name `event/file`.

    Raises:
        DataError: the name has no event, or could lead out of a folder (`..`, absolute, NUL).
    """
    parts = name.split("/")
    if len(parts) < 2 or any(p in ("", ".", "..") for p in parts) or not name.isprintable():
        raise DataError(f"{source}: image names must be event/file without '..', got {name!r}")
    return "/".join(parts[:-1]), parts[-1]


def count_flags(
    chosen: Sequence[NDArray[np.int64]],
    offsets: NDArray[np.int64],
    names: tuple[str, ...],
    source: str,
    base: int,
) -> NDArray[np.bool_]:
    """Return a flag per face (F) from index lists per image, counted from `base`."""
    counts = [len(indices) for indices in chosen]
    owner = np.repeat(np.arange(len(names)), counts)
    local = np.concatenate([np.zeros(0, dtype=np.int64), *chosen]) - base
    wrong = (local < 0) | (local >= np.diff(offsets)[owner])
    if wrong.any():
        at = int(wrong.argmax())
        faces = int(np.diff(offsets)[owner[at]])
        raise DataError(
            f"{source}: {names[owner[at]]} has {faces} faces, indices must be "
            f"{base} to {faces - 1 + base}, got {int(local[at]) + base}"
        )
    flags = np.zeros(int(offsets[-1]), dtype=bool)
    flags[offsets[owner] + local] = True
    if int(flags.sum()) != len(local):
        raise DataError(f"{source}: a face is listed twice in the same image")
    return flags


def box_array(value: ArrayLike, source: str) -> NDArray[np.float64]:
    """Return boxes (G, 4) as float64; an empty value of any shape means no face."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{source}: boxes must be numbers, got {array.dtype}")
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise DataError(f"{source}: boxes must have the shape (faces, 4), got {array.shape}")
    return array.astype(np.float64)
