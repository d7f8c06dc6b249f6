"""Time of WIDER FACE AP for 3,226 images, from arrays and from text files.

Baseline: the algorithm of the common evaluator: for each subset and image the IoUs in one
numpy call (instead of its compiled one), a loop over predictions and a loop over the 1,000
thresholds. It is linear in the images, so it runs on the first ones (`--baseline-images`) and
its time is multiplied; on those both must give the same AP.

Ours: `trials.evaluation.widerface_ap.evaluate` on arrays, and on text files after
`trials.evaluation.prediction_files.read_predictions`. Without `--predictions` and `--gt` a set
of the same size is generated.
"""

import tempfile
from pathlib import Path

import numpy as np
from _common import arguments, best_of, seconds, set_threads, show, verdict

IMAGES = 3226


def make_set(images, seed=0):
    """Return a ground truth with about 12 faces per image, and about 120 predictions each."""
    from trials.data.ground_truth import make_truth

    rng = np.random.default_rng(seed)
    boxes, found, subsets = {}, {}, ({}, {}, {})
    for number in range(images):
        name = f"event_{number % 61}/image_{number}"
        faces = int(min(rng.geometric(1 / 12), 400))
        sides = np.exp(rng.uniform(np.log(8), np.log(200), (faces, 2)))
        boxes[name] = np.concatenate([rng.uniform(0, 800, (faces, 2)), sides], axis=1)
        for subset, least in zip(subsets, (50, 30, 10), strict=True):
            subset[name] = np.flatnonzero(sides[:, 1] >= least)
        near = boxes[name].repeat(3, axis=0)
        near = near + rng.normal(0, 0.15, near.shape) * near[:, 2:].repeat(2, axis=1)
        far = np.concatenate(
            [rng.uniform(0, 800, (84, 2)), np.exp(rng.uniform(2, 5, (84, 2)))], axis=1
        )
        rows = np.concatenate([near, far])
        rows[:, 2:] = np.maximum(rows[:, 2:], 1)
        scores = np.concatenate([rng.beta(4, 2, len(near)), rng.beta(1, 6, len(far))])
        rows = np.column_stack([rows, scores])
        found[name] = rows[np.argsort(-scores, kind="stable")]
    easy, medium, hard = subsets
    return make_truth(boxes, easy=easy, medium=medium, hard=hard), found


def common_evaluator(predictions, truth, images):
    """Return the AP of each subset over the first `images` images."""
    names = truth.names[:images]
    scores = np.concatenate([predictions[name][:, 4] for name in names if name in predictions])
    low, span = scores.min(), np.ptp(scores)
    results = []
    for subset in range(3):
        totals, faces = np.zeros((1000, 2)), 0
        for number, name in enumerate(names):
            boxes, counted = truth.boxes(number), truth.counted(number)[:, subset]
            faces += int(counted.sum())
            rows = predictions.get(name, np.zeros((0, 5)))
            if len(boxes) and len(rows):
                rows = rows[np.argsort(-rows[:, 4], kind="stable")]
                totals += image_counts(rows, (rows[:, 4] - low) / span, boxes, counted)
        precision, recall = totals[:, 1] / np.maximum(totals[:, 0], 1), totals[:, 1] / faces
        results.append(area(recall, precision))
    return results


def image_counts(rows, scores, boxes, counted):
    """Return the counted predictions and the detected faces at each of the 1,000 thresholds."""
    overlaps = inclusive_iou(rows, boxes)
    found, ignored, kept = np.zeros(len(boxes), bool), np.zeros(len(boxes), bool), []
    recall = np.zeros(len(rows))
    for index in range(len(rows)):
        best = int(overlaps[index].argmax())
        keep = True
        if overlaps[index, best] >= 0.5:
            if not counted[best]:
                ignored[best], keep = True, False
            elif not found[best]:
                found[best] = True
        kept.append(keep)
        recall[index] = found.sum()
    kept = np.array(kept)
    counts = np.zeros((1000, 2))
    for step in range(1000):
        reached = np.where(scores >= 1 - (step + 1) / 1000)[0]
        if len(reached):
            last = reached[-1]
            counts[step] = kept[: last + 1].sum(), recall[last]
    return counts


def inclusive_iou(rows, boxes):
    """Return the IoU (N, G) of xywh boxes with the +1 convention."""
    low = np.maximum(rows[:, None, :2], boxes[None, :, :2])
    high = np.minimum(
        rows[:, None, :2] + rows[:, None, 2:4], boxes[None, :, :2] + boxes[None, :, 2:]
    )
    inter = np.maximum(high - low + 1, 0).prod(axis=2)
    areas = [(sides + 1).prod(axis=1) for sides in (rows[:, 2:4], boxes[:, 2:])]
    return inter / (areas[0][:, None] + areas[1][None] - inter)


def area(recall, precision):
    """Return the area under the curve with monotone precision."""
    recall = np.concatenate([[0.0], recall, [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    for index in range(len(precision) - 1, 0, -1):
        precision[index - 1] = max(precision[index - 1], precision[index])
    steps = np.where(recall[1:] != recall[:-1])[0]
    return float(((recall[steps + 1] - recall[steps]) * precision[steps + 1]).sum())


def first_images(truth, images):
    """Return the ground truth of the first images."""
    from trials.data.ground_truth import Truth

    end = truth.offsets[images]
    return Truth(
        names=truth.names[:images],
        boxes_F4=truth.boxes_F4[:end],
        offsets=truth.offsets[: images + 1],
        counted_F3=truth.counted_F3[:end],
    )


def main(argv=None):
    options = arguments(
        __doc__,
        ("--predictions", {"type": Path, "help": "folder of text predictions"}),
        ("--gt", {"type": Path, "help": "folder of the four .mat files"}),
        ("--baseline-images", {"type": int, "default": 200}),
    ).parse_args(argv)
    set_threads(options.threads)
    from trials.data.widerface_mat import read_ground_truth
    from trials.evaluation.prediction_files import read_predictions, write_predictions
    from trials.evaluation.widerface_ap import evaluate

    with tempfile.TemporaryDirectory() as scratch:
        folder = options.predictions
        if folder is not None and options.gt is not None:
            truth, found = read_ground_truth(options.gt), read_predictions(folder)
        else:
            truth, found = make_set(12 if options.quick else IMAGES)
            folder = Path(scratch) / "predictions"
            write_predictions(folder, found)
        images = len(truth.names)
        some = min(6 if options.quick else options.baseline_images, images)
        part = first_images(truth, some)
        few = {name: found[name] for name in part.names if name in found}
        results = []
        baseline = seconds(lambda: results.append(common_evaluator(few, part, some)))
        ours = list(evaluate(few, part).as_dict().values())
        assert np.allclose(results[0], ours, atol=1e-9), (results[0], ours)
        baseline *= images / some
        rounds = 1 if options.quick else 3
        arrays = best_of(lambda: evaluate(found, truth), rounds)
        text = best_of(lambda: evaluate(read_predictions(folder), truth), rounds)
    mean = sum(map(len, found.values())) / images
    print(
        f"  {images} images, {mean:.0f} predictions each; on {some} of them both give the same AP"
    )
    show(f"baseline: the common evaluator, {some} images times {images / some:.3g}", baseline)
    show("ours, from arrays", arrays)
    show("ours, from text files", text)
    verdict("WIDER FACE AP from arrays", baseline / arrays, 60)
    verdict("WIDER FACE AP from text files", baseline / text, 20)


if __name__ == "__main__":
    main()
