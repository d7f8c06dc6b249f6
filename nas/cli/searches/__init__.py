"""Commands about searches: stages, plans, reports."""
