"""Random crops, flips and photometric distortion of training images, on a CPU or a GPU."""
