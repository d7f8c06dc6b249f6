"""A search as data: the request, its directory, its events."""
