"""After the trials: more seeds, repeats, comparisons, and the report's data."""
