"""Damaged files give a result or one line of error, never a traceback or a hang.

A few hundred mutants a format run with every `make test`, 10,000 with `make test-slow`. A mutant
is the format's valid example with random edits; its number is the seed, so that a failure can be
repeated: `mutate(EXAMPLES[kind], number)`.
"""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from images import noise, save_image

from nas.search.directory import SearchDir
from search_spaces.architecture import load_architecture
from search_spaces.errors import ScrfdNasError
from search_spaces.mmdet.config_reader import architecture_from_mmdet
from search_spaces.network.detector import build_detector
from search_spaces.yaml_files import dump_yaml
from search_spaces.zoo import load_zoo
from trials.data.formats.coco import read_coco
from trials.data.formats.importers import import_labels
from trials.data.formats.voc import read_voc
from trials.data.formats.yolo import read_yolo
from trials.data.images import read_image
from trials.data.label_filter import read_filtered_labels
from trials.data.labels import read_labelv2
from trials.data.widerface_mat import read_ground_truth, write_ground_truth
from trials.evaluation.prediction_files import read_predictions
from trials.model_file import load_model, save_model
from trials.onnx.export import onnx_bytes
from trials.onnx.network_import import read_onnx
from trials.recipe import Recipe, load_recipe
from trials.result import load_outcome

Reader = Callable[[Path, bytes], None]

SECONDS = 10  # that one mutant may take
MEGABYTES = 1024  # that all of a format's mutants may add to the process

TOKENS = (
    *(b"nan", b"-inf", b"1e400", b"-1", b"0", b"9" * 400, b"\0", b"\xff\xfe", b"\xe2\x82\xac"),
    *(b"!!python/object/apply:os.system ['true']", b"&a [*a]", b"<<: *a", b"- " * 300, b"{" * 300),
    *(b"../../etc/passwd", b"/etc/passwd", b"\n", b"\r\n", b"\t", b" ", b"#", b":", b"null", b"[]"),
    *(b"2147483648", b"-9223372036854775809", b"0x10", b"1_000", b"1e5", b"true", b"'", b'"'),
)


def mutate(content: bytes, number: int) -> bytes:
    """Return `content` after one to four random edits, the same for the same number."""
    rng = np.random.default_rng([7, number])
    for _ in range(rng.integers(1, 5)):
        content = EDITS[rng.integers(len(EDITS))](content, rng)
    return content


def _place(content: bytes, rng: np.random.Generator) -> tuple[int, int]:
    start = int(rng.integers(0, len(content) + 1))
    return start, min(len(content), start + int(rng.integers(1, 40)))


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    changed[rng.integers(len(changed))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _place(content, rng)
    return content[:start] + content[end:]


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    start, end = _place(content, rng)
    return content[:end] + content[start:end] * int(rng.integers(1, 50)) + content[end:]


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    start, _ = _place(content, rng)
    return content[:start] + TOKENS[rng.integers(len(TOKENS))] + content[start:]


def _truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: _place(content, rng)[0]]


def _swap_lines(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.split(b"\n")
    a, b = rng.integers(len(lines), size=2)
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def _replace_word(content: bytes, rng: np.random.Generator) -> bytes:
    words = content.split(b" ")
    words[rng.integers(len(words))] = TOKENS[rng.integers(len(TOKENS))]
    return b" ".join(words)


EDITS = (_flip, _cut, _repeat, _insert, _truncate, _swap_lines, _replace_word)


# Each format: a valid example, and what reads a file of it.

LABELV2 = b"""# a/1.jpg 640 480
10.5 20 110 140.25 30 40 0 60 40 0 45 60 1 35 80 0 55 80 0
300 200 340 260 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1
5 5 9 9 1
# a/2.jpg 100 100
1 2 30 40
"""
WIDER_TEXT = b"""a/1.jpg
2
10 20 100 120 0 0 0 0 0 0
300 200 40 60 1 0 0 0 2 0
a/2.jpg
0
0 0 0 0 0 0 0 0 0 0
"""
RETINA_TEXT = b"""# a/1.jpg
10 20 100 120 30 40 0 60 40 0 45 60 1 35 80 0 55 80 0 0.9
300 200 40 60 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 0.2
# a/2.jpg
1 2 30 40 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 -1 0.5
"""
COCO = (
    b'{"images": [{"id": 1, "file_name": "1.jpg", "width": 64, "height": 48}], "annotations": '
    b'[{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40.5], "iscrowd": 0, '
    b'"keypoints": [5, 5, 2, 9, 5, 2, 7, 8, 1, 0, 0, 0, 9, 9, 2]}], '
    b'"categories": [{"id": 1, "name": "face"}]}'
)
YOLO = b"0 0.5 0.5 0.25 0.4\n0 .5 .5 .25 .4 .1 .1 2 .2 .2 1 .3 .3 0 .3 .3 2 0 0 0\n"
VOC = (
    b"<annotation><filename>1.jpg</filename><size><width>64</width><height>48</height></size>"
    b"<object><name>face</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin>"
    b"<xmax>31</xmax><ymax>42</ymax></bndbox></object></annotation>"
)
PREDICTIONS = b"a/1\n3\n10 20 30 40 0.9\n11.5 20 30 40 0.8\n5 5 2 2 0.1\n"
RESULT = (
    b'{"state": "finished", "easy": 0.9, "medium": 0.8, "hard": 0.7, "epochs": 2, "best_epoch": 2,'
    b' "best_hard": 0.7, "loss": 1.0, "duration_s": 3.0, "images_per_second": 4.0, "params": 5}'
)
MMDET = b"""model = dict(
    type='SCRFD',
    backbone=dict(type='ResNetV1e', depth=0, block_cfg=dict(block='BasicBlock',
        stage_blocks=(3, 5, 3, 2), stage_planes=[24, 48, 48, 80]), base_channels=24, num_stages=4,
        out_indices=(0, 1, 2, 3), norm_cfg=dict(type='BN', requires_grad=True), style='pytorch'),
    neck=dict(type='PAFPN', in_channels=[24, 48, 48, 80], out_channels=24, start_level=1,
        add_extra_convs='on_output', num_outs=3),
    bbox_head=dict(type='SCRFDHead', num_classes=1, in_channels=24, stacked_convs=2,
        feat_channels=64, norm_cfg=dict(type='GN', num_groups=16, requires_grad=True),
        cls_reg_share=True, strides_share=True, scale_mode=2))
"""


ARCHITECTURE = load_zoo("scrfd_2.5g").to_yaml().encode()
RECIPE = dump_yaml(Recipe.named("quick").to_dict()).encode()
SEARCH = dump_yaml(
    {
        "format": 1,
        "stage1": {
            "request": {
                "flops": 500_000_000,
                "data": "/data",
                "data_fingerprint": "0" * 16,
                "recipe": Recipe.named("quick").to_dict(),
                "space": "mobile",
            },
            "created": "2026-11-23T00:00:00",
            "versions": {"python": "3.11"},
        },
    }
).encode()


def _file(reader: Callable[[Path], object], name: str, root: Path, content: bytes) -> None:
    (root / name).write_bytes(content)
    reader(root / name)


def _labels(root: Path, content: bytes) -> None:
    (root / "labelv2.txt").write_bytes(content)
    found = read_filtered_labels(root / "labelv2.txt", root / "images")
    assert len(found.images) <= found.listed
    read_labelv2(root / "labelv2.txt", root / "images")


def _search_dir(root: Path, content: bytes) -> None:
    _file(lambda path: SearchDir(path.parent).requests(), "search.yaml", root, content)


def _predictions(root: Path, content: bytes) -> None:
    (root / "a").mkdir(exist_ok=True)
    _file(lambda path: read_predictions(root), "a/1.txt", root, content)


def _result(root: Path, content: bytes) -> None:
    _file(lambda path: load_outcome(path.parent), "result.json", root, content)


def _mmdet(root: Path, content: bytes) -> None:
    architecture_from_mmdet(content.decode("utf-8", "replace"), "config.py")


def _import(form: str, root: Path, content: bytes) -> None:
    images = root / "images" / "a"
    if not images.exists():
        save_image(images / "1.jpg", noise(480, 640))
        save_image(images / "2.jpg", noise(100, 100))
    reader = partial(import_labels, form, images=root / "images", out=root / "out")
    _file(reader, "labels.txt", root, content)


def _coco(root: Path, content: bytes) -> None:
    save_image(root / "1.jpg", noise(48, 64))
    _file(lambda path: read_coco(path, root), "faces.json", root, content)


def _yolo(root: Path, content: bytes) -> None:
    save_image(root / "1.jpg", noise(48, 64))
    _file(lambda path: read_yolo(root, root), "1.txt", root, content)


def _voc(root: Path, content: bytes) -> None:
    save_image(root / "1.jpg", noise(48, 64))
    _file(lambda path: read_voc(root, root), "1.xml", root, content)


def _truth(name: str, root: Path, content: bytes) -> None:
    """Read ground truth of which one of the four .mat files is damaged."""
    write_truth(root)
    _file(lambda path: read_ground_truth(root), name, root, content)


def write_truth(root: Path) -> None:
    boxes = {"a/1": [[10.0, 20.0, 30.0, 40.0], [1.0, 2.0, 3.0, 4.0]], "b/2": [[5.0, 5.0, 9.0, 9.0]]}
    counted = {"a/1": [0], "b/2": [0]}
    write_ground_truth(root, boxes, easy=counted, medium=counted, hard=counted)


def example_file(kind: str, root: Path) -> bytes:
    """Return a valid binary file of its kind, written by this program."""
    architecture = load_zoo("scrfd_0.5g")
    if kind == "model":
        save_model(root / "model", architecture, build_detector(architecture).state_dict())
    elif kind == "onnx":
        detector = build_detector(architecture).eval()
        (root / "onnx").write_bytes(onnx_bytes(detector))
    elif kind == "image.jpg":
        save_image(root / kind, noise(32, 48))
    else:
        write_truth(root)
    return (root / kind).read_bytes()


READERS: dict[str, tuple[bytes, Reader]] = {
    "labelv2": (LABELV2, _labels),
    "widerface": (WIDER_TEXT, partial(_import, "widerface")),
    "retinaface": (RETINA_TEXT, partial(_import, "retinaface")),
    "coco": (COCO, _coco),
    "yolo": (YOLO, _yolo),
    "voc": (VOC, _voc),
    "predictions": (PREDICTIONS, _predictions),
    "architecture": (ARCHITECTURE, partial(_file, load_architecture, "a.yaml")),
    "recipe": (RECIPE, partial(_file, load_recipe, "r.yaml")),
    "search": (SEARCH, _search_dir),
    "result": (RESULT, _result),
    "mmdet": (MMDET, _mmdet),
}
BINARY: dict[str, Reader] = {
    "model": partial(_file, load_model, "model"),
    "onnx": partial(_file, read_onnx, "onnx"),
    "image.jpg": partial(_file, read_image, "image.jpg"),
    "wider_face_val.mat": partial(_truth, "wider_face_val.mat"),
    "wider_hard_val.mat": partial(_truth, "wider_hard_val.mat"),
}


@contextmanager
def bounded(label: str) -> Iterator[None]:
    """Raise TimeoutError if the block takes more than `SECONDS`."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"{label} took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def survive(kind: str, example: bytes, read: Reader, root: Path, count: int) -> int:
    """Read `count` mutants, all of which must end well, and return how many were valid."""
    read(root, example)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    valid = sum(
        ends_well(f"{kind} mutant {n}", read, root, mutate(example, n)) for n in range(count)
    )
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    assert grown < MEGABYTES, f"{kind} took {grown:.0f} MB"
    return valid


def ends_well(label: str, read: Reader, root: Path, content: bytes) -> bool:
    """Return whether a mutant can be read; if not, the error must be one short line."""
    try:
        with bounded(label):
            read(root, content)
        return True
    except ScrfdNasError as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{label}: {error!r}") from error
    assert "\n" not in message.strip(), label
    assert len(message) < 2000, label
    return False


def few_and_many(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


@pytest.mark.parametrize("kind", READERS)
@few_and_many(250, 10_000)
def test_mutants_of_a_text_format_give_a_result_or_a_line(
    kind: str, count: int, tmp_path: Path
) -> None:
    assert 0 < survive(kind, *READERS[kind], tmp_path, count) < count


@pytest.mark.parametrize("kind", BINARY)
@few_and_many(60, 1000)
def test_mutants_of_a_binary_format_give_a_result_or_a_line(
    kind: str, count: int, tmp_path: Path
) -> None:
    survive(kind, example_file(kind, tmp_path), BINARY[kind], tmp_path, count)
