"""`scrfd-nas` with fake trials and candidates: python -m fake_search stage1 ..."""

from functools import partial

import fake_trials

from nas import stage
from nas.cli.main import main
from nas.storage import search_storage
from nas.storage.lease import Times

if __name__ == "__main__":
    search_storage.TIMES = Times(renew_s=1.0, stale_s=6.0, settle_s=0.5, look_s=0.2)
    options = partial(stage.RunOptions, entry=fake_trials.ENTRY, propose=fake_trials.propose)
    stage.RunOptions = options  # type: ignore[misc,assignment]
    main()
