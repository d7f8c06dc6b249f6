"""Published detectors and their WIDER FACE APs, for comparison.

Full WIDER FACE, 640 epochs, VGA; figures from the papers. Their training differs from that of
the candidates of a search, so they are not ranked with them. SCRFD and baselines: arXiv
2105.04714 (table at VGA), with key points: README of its repository;
DamoFD: ICLR 2023; YOLO5Face: arXiv 2105.12931.
"""

from dataclasses import dataclass

NEAR = 1.25  # largest ratio of two budgets that count as equal


@dataclass(frozen=True)
class Published:
    """A published detector: APs as fractions of 1, None if unknown; multiply-adds at VGA."""

    name: str
    family: str
    flops: int
    hard: float
    medium: float | None = None
    easy: float | None = None
    params: int | None = None


PUBLISHED = (
    Published("SCRFD-0.5GF", "SCRFD", 508_000_000, 0.6851, 0.8812, 0.9057, 570_000),
    Published("SCRFD-1GF", "SCRFD", 1_000_000_000, 0.7480, 0.9057, 0.9238, 640_000),
    Published("SCRFD-2.5GF", "SCRFD", 2_530_000_000, 0.7787, 0.9216, 0.9378, 670_000),
    Published("SCRFD-10GF", "SCRFD", 9_980_000_000, 0.8305, 0.9387, 0.9516, 3_860_000),
    Published("SCRFD-34GF", "SCRFD", 34_130_000_000, 0.8529, 0.9492, 0.9606, 9_800_000),
    Published("SCRFD-0.5GF-KPS", "SCRFD", 500_000_000, 0.6949, 0.8844, 0.9097, 570_000),
    Published("SCRFD-2.5GF-KPS", "SCRFD", 2_500_000_000, 0.7713, 0.9202, 0.9380, 820_000),
    Published("SCRFD-10GF-KPS", "SCRFD", 10_000_000_000, 0.8280, 0.9401, 0.9540, 4_230_000),
    Published("MobileNet-0.5GF", "SCRFD baseline", 507_000_000, 0.6668, 0.8705, 0.9038, 370_000),
    Published("ResNet-2.5GF", "SCRFD baseline", 2_570_000_000, 0.7447, 0.9111, 0.9321, 1_620_000),
    Published("ResNet-10GF", "SCRFD baseline", 10_180_000_000, 0.8042, 0.9290, 0.9469, 6_850_000),
    Published("ResNet-34GF", "SCRFD baseline", 34_160_000_000, 0.8402, 0.9422, 0.9564, 24_810_000),
    Published("DamoFD-0.5GF", "DamoFD", 500_000_000, 0.7103),
    Published("DamoFD-2.5GF", "DamoFD", 2_500_000_000, 0.7870),
    Published("DamoFD-10GF", "DamoFD", 10_000_000_000, 0.8407),
    Published("DamoFD-34GF", "DamoFD", 34_000_000_000, 0.8508),
    Published("YOLO5Face-n-0.5", "YOLO5Face", 570_000_000, 0.7382),
    Published("YOLO5Face-n", "YOLO5Face", 2_100_000_000, 0.8032),
)


def published_near(flops: int) -> tuple[Published, ...]:
    """Return the detectors of about this budget, the highest hard AP first."""
    near = (row for row in PUBLISHED if flops / NEAR <= row.flops <= flops * NEAR)
    return tuple(sorted(near, key=lambda row: -row.hard))
