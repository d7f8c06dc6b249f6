"""Who runs what, where, and for how long: Ray, schedulers, budget, events."""
