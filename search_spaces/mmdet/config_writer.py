"""Writing an Architecture as a configuration that the SCRFD repository trains."""

import json
from typing import Any

from search_spaces.architecture import Architecture
from search_spaces.errors import ConfigError

CROP_SCALES = [0.3, 0.45, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0]
FINAL_EPOCHS = 640
MAX_EPOCHS = 100_000
_BASE_EPOCHS, _DROPS = 80, (55, 68)
_LINE = 96
_BATCH_NORM = {"type": "BN", "requires_grad": True}
_PIXELS = {"mean": [127.5] * 3, "std": [128.0] * 3, "to_rgb": True}


def mmdet_config(architecture: Architecture, epochs: int = FINAL_EPOCHS) -> str:
    """Return the text of a self-contained mmdetection configuration.

    The schedule is SCRFD's, scaled to `epochs`: drops at 55/80 and 68/80.

    Args:
        architecture: the network.
        epochs: at least 1; 80 is the search's schedule, 640 the final training's.

    Raises:
        ConfigError: the number of epochs is out of range.
    """
    if not 1 <= epochs <= MAX_EPOCHS:
        raise ConfigError(f"epochs must be 1 to {MAX_EPOCHS}, got {epochs}")
    assignments = {**_schedule(epochs), **_data(), "model": model_section(architecture)}
    assignments |= {"train_cfg": _TRAIN, "test_cfg": _TEST, "evaluation": _evaluation(epochs)}
    label = json.dumps(
        architecture.name or "candidate"
    )  # JSON, so that a name with line breaks stays in the comment
    lines = [f"# SCRFD {label}, architecture {architecture.content_hash} of scrfd-nas"]
    lines += [f"{name} = {_render(value, 0)}" for name, value in assignments.items()]
    return "\n".join(lines) + "\n"


def model_section(architecture: Architecture) -> dict[str, Any]:
    """Return the `model` section as nested plain data."""
    head, width = architecture.head, architecture.neck.width
    norm: dict[str, Any] = _BATCH_NORM
    if head.norm == "group":
        norm = {"type": "GN", "num_groups": head.groups, "requires_grad": True}
    return {
        "type": "SCRFD",
        "backbone": _backbone(architecture),
        "neck": {
            "type": "PAFPN",
            "in_channels": list(architecture.backbone.output_widths),
            "out_channels": width,
            "start_level": 1,
            "add_extra_convs": "on_output",
            "num_outs": 3,
        },
        "bbox_head": {
            "type": "SCRFDHead",
            "num_classes": 1,
            "in_channels": width,
            "stacked_convs": head.convs,
            "feat_channels": head.width,
            "norm_cfg": norm,
            "cls_reg_share": True,
            "strides_share": head.shared,
            "dw_conv": head.depthwise,
            "scale_mode": 2 if head.level_scales else 0,
            "use_kps": head.keypoints > 0,
            **_HEAD_REST,
        },
    }


def _backbone(architecture: Architecture) -> dict[str, Any]:
    backbone = architecture.backbone
    if backbone.block == "depthwise":
        planes = [*backbone.stem_widths, *backbone.widths]
        blocks = {"stage_blocks": backbone.depths, "stage_planes": planes}
        return {"type": "MobileNetV1", "block_cfg": blocks}
    stem = backbone.stem_widths[0]
    return {
        "type": "ResNetV1e",
        "depth": 0,
        "block_cfg": {
            "block": "BasicBlock" if backbone.block == "basic" else "Bottleneck",
            "stage_blocks": backbone.depths,
            "stage_planes": list(backbone.widths),
        },
        "base_channels": stem,
        "num_stages": 4,
        "out_indices": (0, 1, 2, 3),
        "norm_cfg": _BATCH_NORM,
        "norm_eval": False,
        "style": "pytorch",
    }


_TRAIN = {
    "assigner": {"type": "ATSSAssigner", "topk": 9},
    "allowed_border": -1,
    "pos_weight": -1,
    "debug": False,
}
_TEST = {
    "nms_pre": -1,
    "min_bbox_size": 0,
    "score_thr": 0.02,
    "nms": {"type": "nms", "iou_threshold": 0.45},
    "max_per_img": -1,
}
_HEAD_REST = {
    "anchor_generator": {
        "type": "AnchorGenerator",
        "ratios": [1.0],
        "scales": [1, 2],
        "base_sizes": [16, 64, 256],
        "strides": [8, 16, 32],
    },
    "loss_cls": {
        "type": "QualityFocalLoss",
        "use_sigmoid": True,
        "beta": 2.0,
        "loss_weight": 1.0,
    },
    "loss_dfl": False,
    "reg_max": 8,
    "loss_bbox": {"type": "DIoULoss", "loss_weight": 2.0},
    "loss_kps": {"type": "SmoothL1Loss", "beta": 1 / 9, "loss_weight": 0.1},
    "train_cfg": _TRAIN,
    "test_cfg": _TEST,
}


def _schedule(epochs: int) -> dict[str, Any]:
    steps = [max(1, round(epochs * drop / _BASE_EPOCHS)) for drop in _DROPS]
    return {
        "optimizer": {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005},
        "optimizer_config": {"grad_clip": None},
        "lr_config": {
            "policy": "step",
            "warmup": "linear",
            "warmup_iters": 1500,
            "warmup_ratio": 0.001,
            "step": steps,
        },
        "total_epochs": epochs,
        "checkpoint_config": {"interval": min(80, epochs)},
        "log_config": {"interval": 100, "hooks": [{"type": "TextLoggerHook"}]},
        "dist_params": {"backend": "nccl"},
        "log_level": "INFO",
        "load_from": None,
        "resume_from": None,
        "workflow": [("train", 1)],
    }


def _evaluation(epochs: int) -> dict[str, Any]:
    return {"interval": min(80, epochs), "metric": "mAP"}


def _data() -> dict[str, Any]:
    def part(split: str, pipeline: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "type": "RetinaFaceDataset",
            "ann_file": f"data/retinaface/{split}/labelv2.txt",
            "img_prefix": f"data/retinaface/{split}/images/",
            "pipeline": pipeline,
        }

    return {
        "data": {
            "samples_per_gpu": 8,
            "workers_per_gpu": 2,
            "train": part("train", _train_pipeline()),
            "val": part("val", _test_pipeline()),
            "test": part("val", _test_pipeline()),
        }
    }


def _train_pipeline() -> list[dict[str, Any]]:
    truth = ["img", "gt_bboxes", "gt_labels", "gt_bboxes_ignore", "gt_keypointss"]
    return [
        {"type": "LoadImageFromFile", "to_float32": True},
        {"type": "LoadAnnotations", "with_bbox": True, "with_keypoints": True},
        {"type": "RandomSquareCrop", "crop_choice": CROP_SCALES},
        {"type": "Resize", "img_scale": (640, 640), "keep_ratio": False},
        {"type": "RandomFlip", "flip_ratio": 0.5},
        {
            "type": "PhotoMetricDistortion",
            "brightness_delta": 32,
            "contrast_range": (0.5, 1.5),
            "saturation_range": (0.5, 1.5),
            "hue_delta": 18,
        },
        {"type": "Normalize", **_PIXELS},
        {"type": "DefaultFormatBundle"},
        {"type": "Collect", "keys": truth},
    ]


def _test_pipeline() -> list[dict[str, Any]]:
    steps = [
        {"type": "Resize", "keep_ratio": True},
        {"type": "RandomFlip", "flip_ratio": 0.0},
        {"type": "Normalize", **_PIXELS},
        {"type": "Pad", "size": (640, 640), "pad_val": 0},
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "Collect", "keys": ["img"]},
    ]
    augment = {"type": "MultiScaleFlipAug", "img_scale": (640, 640), "flip": False}
    return [{"type": "LoadImageFromFile"}, {**augment, "transforms": steps}]


def _render(value: Any, indent: int) -> str:
    """Return plain data as Python source: dicts as `dict(...)`, long values on several lines."""
    short = _inline(value)
    if not isinstance(value, dict | list) or indent + len(short) <= _LINE:
        return short
    pad = " " * (indent + 4)
    if isinstance(value, dict):
        inner = [f"{pad}{key}={_render(item, indent + 4)}" for key, item in value.items()]
        opening, closing = "dict(", ")"
    else:
        inner = [f"{pad}{_render(item, indent + 4)}" for item in value]
        opening, closing = "[", "]"
    return "\n".join([opening, ",\n".join(inner), " " * indent + closing])


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return f"dict({', '.join(f'{key}={_inline(item)}' for key, item in value.items())})"
    if isinstance(value, list):
        return f"[{', '.join(map(_inline, value))}]"
    return repr(value)
