"""Training samples and batches drawn from a data set."""
