"""A trial without training that sleeps for the seconds in `seconds.json` of the data folder."""


def run(trial, folder, *, until, callbacks):
    """As `trials.run.advance_trial`; write start and end to `times.json` in the folder."""
    import json
    import os
    import time

    from trials.result import APs, EpochReport, TrialResult, save_outcome
    from trials.training.metrics import write_metrics

    started, settings = time.time(), trial.settings
    seconds = json.loads((trial.data_root / "seconds.json").read_text())
    hard, reports = int(trial.architecture.content_hash[:6], 16) / 0xFFFFFF, []
    folder.mkdir(parents=True, exist_ok=True)
    for epoch in range(1, settings.epochs + 1):
        time.sleep(seconds / settings.epochs)
        report = EpochReport(
            epoch=epoch, epochs=settings.epochs, loss=1.0, cls_loss=0.5, box_loss=0.5,
            keypoint_loss=0.0, learning_rate=0.01, images_per_second=1.0,
            aps=APs(easy=hard, medium=hard, hard=hard),
        )  # fmt: skip
        reports.append(report)
        write_metrics(reports, folder)
        if callbacks.on_epoch is not None:
            callbacks.on_epoch(report)
    result = TrialResult(
        easy=hard, medium=hard, hard=hard, epochs=settings.epochs, best_epoch=1, best_hard=hard,
        loss=1.0, duration_s=max(seconds, 1e-3), images_per_second=1.0, params=1,
    )  # fmt: skip
    (folder / "times.json").write_text(json.dumps([started, time.time(), os.getpid()]))
    save_outcome(result, folder)
    return result
