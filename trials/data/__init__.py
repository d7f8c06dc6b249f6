"""Face data: labels, importers, generated sets, augmentation and loading."""
