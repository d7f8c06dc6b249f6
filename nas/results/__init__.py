"""Confirmation, reproduction and comparison of results, and the data of the report."""
