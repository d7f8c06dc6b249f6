"""Values as text for the report pages."""

from search_spaces.architecture import Architecture


def describe(architecture: Architecture) -> str:
    """Return a network in one line: block, stem, depths x widths, neck, head."""
    backbone, head = architecture.backbone, architecture.head
    stem = ",".join(map(str, backbone.stem_widths))
    stages = ", ".join(f"{d}x{w}" for d, w in zip(backbone.depths, backbone.widths, strict=True))
    kind = f"{backbone.block} | stem {stem} | {stages}"
    return f"{kind} | neck {architecture.neck.width} | head {head.convs}x{head.width}"


def format_flops(flops: int) -> str:
    """Return FLOPs as `2.522G`, `34.13G` or `503.9M`."""
    if flops < 10**9:
        return f"{flops / 1e6:.1f}M"
    return f"{flops / 1e9:.{3 if flops < 10**10 else 2}f}G"


def format_ap(value: float | None) -> str | None:
    """Return an AP with four decimals, None for None."""
    return None if value is None else f"{value:.4f}"


def percent(share: float) -> str:
    """Return a fraction of 1 as `12.3 %`."""
    return f"{100 * share:.1f} %"
