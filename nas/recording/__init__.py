"""Copies of a search's events for other programs: commands, trackers, TensorBoard."""
