"""Reports on many results: leaderboards, statistics, figures and pages."""
