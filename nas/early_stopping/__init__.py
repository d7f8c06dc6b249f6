"""Which trials end early, as pure functions of their recorded curves."""
