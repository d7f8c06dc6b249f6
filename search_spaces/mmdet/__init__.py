"""Exchange of architectures with configurations of the SCRFD repository (mmdetection)."""
