"""Random crops, flips and colour distortion of training images, on a CPU or a GPU."""
