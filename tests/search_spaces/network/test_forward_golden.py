import numpy as np
import pytest
import torch

from search_spaces.network.detector import build_detector
from search_spaces.network.reference_keys import from_reference
from search_spaces.zoo import load_zoo

CASES = {
    "scrfd_0.5g": "scrfd_500m",
    "scrfd_2.5g": "scrfd_2.5g",
    "scrfd_2.5g_kps": "scrfd_2.5g_bnkps",
}


def reference_detector(name, golden_dir):
    architecture = load_zoo(name)
    detector = build_detector(architecture).eval()
    with np.load(golden_dir / f"forward_{CASES[name]}_weights.npz") as file:
        weights = {key: torch.from_numpy(file[key]) for key in file.files}
    detector.load_state_dict(from_reference(weights, detector.state_dict(), architecture))
    return detector


@pytest.mark.parametrize("case", ["a", "b"])  # b has odd feature sizes
@pytest.mark.parametrize("name", CASES)
def test_outputs_equal_the_reference_for_equal_weights(name, case, golden_dir):
    detector = reference_detector(name, golden_dir)
    with np.load(golden_dir / f"forward_{CASES[name]}.npz") as file:
        golden = {key: torch.from_numpy(file[key]) for key in file.files}

    def check(values, kind, keys):
        for value, key in zip(values, keys, strict=True):
            expected = golden[f"{case}_{kind}{key}"]
            scale = max(1.0, expected.abs().max().item())
            torch.testing.assert_close(value / scale, expected / scale, rtol=1e-5, atol=1e-5)

    images = golden[f"{case}_input"]
    with torch.no_grad():
        stages = detector.backbone.all_stages(images)
        check(stages, "backbone", range(4))
        check(detector.neck(stages[1:]), "neck", range(3))
        outputs = detector(images)
    strides = ("_s8", "_s16", "_s32")
    check(outputs.scores, "cls", strides)
    check(outputs.boxes, "bbox", strides)
    if detector.architecture.head.keypoints:
        check(outputs.keypoints, "kps", strides)
