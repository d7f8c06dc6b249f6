"""Generated face images with ground truth, for the demo and for tests."""
