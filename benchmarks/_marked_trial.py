"""A trial that notes when each part of its start ends, in `marks.json` of its folder."""


def run(trial, folder, *, until, callbacks):
    """As `trials.run.advance_trial`."""
    import json
    import os
    import time
    from dataclasses import replace
    from unittest import mock

    from trials.run import advance_trial
    from trials.training.batches import TrainingBatches

    marks = []

    def mark(part):
        marks.append((part, time.time(), time.process_time()))

    def marked(batches, *place, of_epoch=TrainingBatches.of_epoch):
        mark("labels, network, optimiser")
        for batch in of_epoch(batches, *place):
            mark("batch")
            yield batch

    mark("process, imports, placement by Ray")
    callbacks = replace(callbacks, on_step=lambda done, total: mark("step"))
    with mock.patch.object(TrainingBatches, "of_epoch", marked):
        result = advance_trial(trial, folder, until=until, callbacks=callbacks)
    mark("end")
    (folder / "marks.json").write_text(json.dumps([os.getpid(), marks]))
    return result
