"""The search spaces of stage 1 (backbones) and stage 2 (whole networks)."""
