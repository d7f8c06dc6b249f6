"""Status of searches: read from their files, or displayed while they run."""
