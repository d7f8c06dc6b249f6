"""A trial that costs nothing, for what a driver costs."""


def run(architecture, recipe, data_root, folder, *, settings, on_epoch=None):
    """As `trials.run.run_trial`: two epochs at once."""
    from trials.result import EpochReport

    for epoch in (1, 2):
        report = EpochReport(
            epoch=epoch, epochs=2, loss=1.0, cls_loss=0.5, box_loss=0.5, keypoint_loss=0.0,
            learning_rate=0.01, images_per_second=1.0, aps=None,
        )  # fmt: skip
        if on_epoch is not None:
            on_epoch(report)
