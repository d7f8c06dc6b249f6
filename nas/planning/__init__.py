"""Before money is spent: what a stage would cost, and what other choices would have found."""
