"""Writing of an Architecture as a configuration that the SCRFD repository trains."""

import json
from typing import Any

from search_spaces.architecture import Architecture, Backbone, Head
from search_spaces.errors import ConfigError

FINAL_EPOCHS = 640
MAX_EPOCHS = 100_000
_BASE_EPOCHS, _DROPS = 80, (55, 68)

_TEMPLATE = """\
# SCRFD {label}, architecture {hash} of scrfd-nas
optimizer = dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005)
optimizer_config = dict(grad_clip=None)
lr_config = dict(
    policy='step', warmup='linear', warmup_iters=1500, warmup_ratio=0.001, step={steps})
total_epochs = {epochs}
checkpoint_config = dict(interval={interval})
evaluation = dict(interval={interval}, metric='mAP')
log_config = dict(interval=100, hooks=[dict(type='TextLoggerHook')])
dist_params = dict(backend='nccl')
log_level = 'INFO'
load_from = None
resume_from = None
workflow = [('train', 1)]
img_norm_cfg = dict(mean=[127.5, 127.5, 127.5], std=[128.0, 128.0, 128.0], to_rgb=True)
train_pipeline = [
    dict(type='LoadImageFromFile', to_float32=True),
    dict(type='LoadAnnotations', with_bbox=True, with_keypoints=True),
    dict(
        type='RandomSquareCrop',
        crop_choice=[0.3, 0.45, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0]),
    dict(type='Resize', img_scale=(640, 640), keep_ratio=False),
    dict(type='RandomFlip', flip_ratio=0.5),
    dict(
        type='PhotoMetricDistortion',
        brightness_delta=32,
        contrast_range=(0.5, 1.5),
        saturation_range=(0.5, 1.5),
        hue_delta=18),
    dict(type='Normalize', **img_norm_cfg),
    dict(type='DefaultFormatBundle'),
    dict(
        type='Collect',
        keys=['img', 'gt_bboxes', 'gt_labels', 'gt_bboxes_ignore', 'gt_keypointss']),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='MultiScaleFlipAug',
        img_scale=(640, 640),
        flip=False,
        transforms=[
            dict(type='Resize', keep_ratio=True),
            dict(type='RandomFlip', flip_ratio=0.0),
            dict(type='Normalize', **img_norm_cfg),
            dict(type='Pad', size=(640, 640), pad_val=0),
            dict(type='ImageToTensor', keys=['img']),
            dict(type='Collect', keys=['img']),
        ]),
]
val_set = dict(
    type='RetinaFaceDataset',
    ann_file='data/retinaface/val/labelv2.txt',
    img_prefix='data/retinaface/val/images/',
    pipeline=test_pipeline)
data = dict(
    samples_per_gpu=8,
    workers_per_gpu=2,
    train=dict(
        type='RetinaFaceDataset',
        ann_file='data/retinaface/train/labelv2.txt',
        img_prefix='data/retinaface/train/images/',
        pipeline=train_pipeline),
    val=val_set,
    test=val_set)
train_cfg = dict(
    assigner=dict(type='ATSSAssigner', topk=9), allowed_border=-1, pos_weight=-1, debug=False)
test_cfg = dict(
    nms_pre=-1,
    min_bbox_size=0,
    score_thr=0.02,
    nms=dict(type='nms', iou_threshold=0.45),
    max_per_img=-1)
model = dict(
    type='SCRFD',
    backbone={backbone},
    neck=dict(
        type='PAFPN',
        in_channels={inputs},
        out_channels={neck},
        start_level=1,
        add_extra_convs='on_output',
        num_outs=3),
    bbox_head=dict(
        type='SCRFDHead',
        num_classes=1,
        in_channels={neck},
        {head},
        cls_reg_share=True,
        anchor_generator=dict(
            type='AnchorGenerator',
            ratios=[1.0],
            scales=[1, 2],
            base_sizes=[16, 64, 256],
            strides=[8, 16, 32]),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0, loss_weight=1.0),
        loss_dfl=False,
        reg_max=8,
        loss_bbox=dict(type='DIoULoss', loss_weight=2.0),
        loss_kps=dict(type='SmoothL1Loss', beta=1 / 9, loss_weight=0.1),
        train_cfg=train_cfg,
        test_cfg=test_cfg))
"""


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
    return _TEMPLATE.format(
        label=json.dumps(architecture.name or "candidate"),  # one line, whatever the name is
        hash=architecture.content_hash,
        steps=[max(1, round(epochs * drop / _BASE_EPOCHS)) for drop in _DROPS],
        epochs=epochs,
        interval=min(80, epochs),
        backbone=_call(_backbone(architecture.backbone), 8),
        inputs=list(architecture.backbone.output_widths),
        neck=architecture.neck.width,
        head=_arguments(_head(architecture.head), 8),
    )


def _backbone(backbone: Backbone) -> dict[str, Any]:
    if backbone.block == "depthwise":
        planes = [*backbone.stem_widths, *backbone.widths]
        blocks = {"stage_blocks": backbone.depths, "stage_planes": planes}
        return {"type": "MobileNetV1", "block_cfg": blocks}
    return {
        "type": "ResNetV1e",
        "depth": 0,
        "block_cfg": {
            "block": "BasicBlock" if backbone.block == "basic" else "Bottleneck",
            "stage_blocks": backbone.depths,
            "stage_planes": list(backbone.widths),
        },
        "base_channels": backbone.stem_widths[0],
        "num_stages": 4,
        "out_indices": (0, 1, 2, 3),
        "norm_cfg": {"type": "BN", "requires_grad": True},
        "norm_eval": False,
        "style": "pytorch",
    }


def _head(head: Head) -> dict[str, Any]:
    groups = {"type": "GN", "num_groups": head.groups} if head.groups else {"type": "BN"}
    return {
        "stacked_convs": head.convs,
        "feat_channels": head.width,
        "norm_cfg": {**groups, "requires_grad": True},
        "strides_share": head.shared,
        "dw_conv": head.depthwise,
        "scale_mode": 2 if head.level_scales else 0,
        "use_kps": head.keypoints > 0,
    }


def _arguments(values: dict[str, Any], indent: int) -> str:
    """Return `name=value` lines."""
    lines = (
        f"{k}={_call(v, indent + 4) if isinstance(v, dict) else repr(v)}" for k, v in values.items()
    )
    return f",\n{' ' * indent}".join(lines)


def _call(values: dict[str, Any], indent: int) -> str:
    """Return a `dict(...)` call, an argument per line."""
    return f"dict(\n{' ' * indent}{_arguments(values, indent)})"
