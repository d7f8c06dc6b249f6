"""Assignment, losses, learning-rate schedule, epochs and checkpoints of one training."""
