"""Anchors, boxes, decoding and non-maximum suppression."""
