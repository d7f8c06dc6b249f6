"""`scrfd-nas` with fake trials and candidates: python -m fake_search stage1 ..."""

from functools import partial

import fake_trials

from nas import stages
from nas.cli.main import main

if __name__ == "__main__":
    options = partial(stages.RunOptions, entry=fake_trials.ENTRY, propose=fake_trials.propose)
    stages.RunOptions = options  # type: ignore[misc,assignment]
    main()
