"""Training-free scores of an Architecture: cheap guesses of which candidate will do well."""
