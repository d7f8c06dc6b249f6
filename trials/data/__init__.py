"""Face data: labels, ground truth, importers, images, caches and generated sets."""
