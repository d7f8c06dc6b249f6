"""Closed-form cost of a candidate: FLOPs and parameters by part, and the constraints on them."""
