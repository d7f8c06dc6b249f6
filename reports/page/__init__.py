"""The HTML pages: the report of a search, and the comparison of searches."""
