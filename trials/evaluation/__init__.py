"""Inference over a set of images, WIDER FACE AP and latency."""
