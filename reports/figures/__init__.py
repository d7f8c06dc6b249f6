"""Charts of searches, and the tables behind them."""

import logging

# Without a home that can be written to, matplotlib caches in $TMPDIR, and warns about that.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
