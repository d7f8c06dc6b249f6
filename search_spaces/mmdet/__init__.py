"""Exchange of configurations with mmdetection and the SCRFD repository."""
