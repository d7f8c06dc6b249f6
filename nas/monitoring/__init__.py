"""The status of searches: read from their files, displayed while they run."""
