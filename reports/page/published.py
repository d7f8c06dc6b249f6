"""Published detectors of about the budget of a search, for comparison.

Full WIDER FACE, 640 epochs, VGA; figures from the papers. Their training differs from that of
the candidates of a search, so they are not ranked with them. SCRFD and baselines: arXiv
2105.04714 (table at VGA); DamoFD: ICLR 2023; YOLO5Face: arXiv 2105.12931.
"""

from dataclasses import dataclass

NEAR = 1.25  # largest ratio of two budgets that count as equal


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published detector: APs as fractions of 1, None if unknown; multiply-adds at VGA."""

    name: str
    family: str
    flops: int
    hard: float
    medium: float | None = None
    easy: float | None = None
    params: int | None = None


def _row(
    name: str,
    family: str,
    giga: float,
    hard: float,
    medium: float | None = None,
    easy: float | None = None,
    mega: float | None = None,
) -> Published:
    """Convert from the units of the papers: G multiply-adds, APs in %, M parameters."""
    return Published(
        name=name,
        family=family,
        flops=round(giga * 1e9),
        hard=round(hard / 100, 4),
        medium=None if medium is None else round(medium / 100, 4),
        easy=None if easy is None else round(easy / 100, 4),
        params=None if mega is None else round(mega * 1e6),
    )


PUBLISHED = (
    _row("SCRFD-0.5GF", "SCRFD", 0.508, 68.51, 88.12, 90.57, 0.57),
    _row("SCRFD-1GF", "SCRFD", 1.0, 74.80, 90.57, 92.38, 0.64),
    _row("SCRFD-2.5GF", "SCRFD", 2.53, 77.87, 92.16, 93.78, 0.67),
    _row("SCRFD-10GF", "SCRFD", 9.98, 83.05, 93.87, 95.16, 3.86),
    _row("SCRFD-34GF", "SCRFD", 34.13, 85.29, 94.92, 96.06, 9.80),
    _row("MobileNet-0.5GF", "SCRFD baseline", 0.507, 66.68, 87.05, 90.38, 0.37),
    _row("ResNet-2.5GF", "SCRFD baseline", 2.57, 74.47, 91.11, 93.21, 1.62),
    _row("ResNet-10GF", "SCRFD baseline", 10.18, 80.42, 92.90, 94.69, 6.85),
    _row("ResNet-34GF", "SCRFD baseline", 34.16, 84.02, 94.22, 95.64, 24.81),
    _row("DamoFD-0.5GF", "DamoFD", 0.5, 71.03),
    _row("DamoFD-2.5GF", "DamoFD", 2.5, 78.70),
    _row("DamoFD-10GF", "DamoFD", 10.0, 84.07),
    _row("DamoFD-34GF", "DamoFD", 34.0, 85.08),
    _row("YOLO5Face-n-0.5", "YOLO5Face", 0.57, 73.82),
    _row("YOLO5Face-n", "YOLO5Face", 2.1, 80.32),
)


def published_near(flops: int) -> tuple[Published, ...]:
    """Return the detectors of about this budget, the highest hard AP first."""
    near = (row for row in PUBLISHED if flops / NEAR <= row.flops <= flops * NEAR)
    return tuple(sorted(near, key=lambda row: -row.hard))
