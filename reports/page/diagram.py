"""A network as a row of parts, with the cost of each."""

from reports.page.html import Markup, join, prose, tag
from reports.page.text import format_flops, percent
from search_spaces.architecture import Architecture
from search_spaces.cost.detector import PARTS, STAGES, flops_by_part, total

HEIGHT, BAR, GAP = 88, 9, 3  # pixels of a drawing, a bar and the space between two bars
TIMES = "\u00a0×\u00a0"  # without a line break
MOST = 66  # pixels of the bars of one part


def network_diagram(architecture: Architecture) -> Markup:
    """Return the parts in order, each with a bar for each block, its size, and its FLOPs."""
    flops, shapes = flops_by_part(architecture), _shapes(architecture)
    whole, widest = total(flops), max(max(widths) for _, widths in shapes.values())
    items = []
    for part in PARTS:
        text, widths = shapes[part]
        share, cost = percent(flops[part] / whole), format_flops(flops[part])
        drawing = _bars(widths, widest, f"{part}: {text}, {share}, {cost} FLOPs")
        name = part.upper() if part in STAGES else part
        size = join(tag("b", name), " ", text)
        items.append(
            tag(
                "li",
                drawing,
                tag("span", size),
                tag("small", share),
                tag("small", cost),
                class_=part,
            )
        )
    head = architecture.head
    caption = (
        f"Blocks: `{architecture.backbone.block}`; a bar is a block, its height the channels. "
        f"C2 to C5: depth × width. Neck: width of its levels. Head: convs × width, "
        f"{'shared by' if head.shared else 'one for each of'} the strides 8, 16 and 32. "
        f"Percent of {format_flops(whole)} multiply-adds at 640x480."
    )
    return join(tag("ol", *items, class_="network"), tag("p", prose(caption), class_="soft"))


def _shapes(architecture: Architecture) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the size as text, and the channels of each block, by part."""
    backbone, head = architecture.backbone, architecture.head
    stem = backbone.stem_widths
    shapes = {"stem": (", ".join(map(str, stem)), stem)}
    columns = zip(STAGES, backbone.depths, backbone.widths, backbone.output_widths, strict=True)
    for part, depth, width, output in columns:
        shapes[part] = (f"{depth}{TIMES}{width}", (output,) * depth)
    shapes["neck"] = (str(architecture.neck.width), (architecture.neck.width,) * 3)
    shapes["head"] = (f"{head.convs}{TIMES}{head.width}", (head.width,) * head.convs)
    return shapes


def _bars(widths: tuple[int, ...], widest: int, label: str) -> Markup:
    """Return a drawing with a bar for each block."""
    step = min(BAR + GAP, MOST / len(widths))
    bars = []
    for index, width in enumerate(widths):
        high = max(2.0, HEIGHT * width / widest)
        x, y = round(index * step, 1), round((HEIGHT - high) / 2, 1)
        wide = round(step * BAR / (BAR + GAP), 1)
        bars.append(tag("rect", x=x, y=y, width=wide, height=round(high, 1)))
    whole = round(step * len(widths))
    view = f"0 0 {whole} {HEIGHT}"
    drawing = (tag("title", label), *bars)
    return tag("svg", *drawing, role="img", width=whole, height=HEIGHT, viewBox=view)
