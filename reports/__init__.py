"""What many results say: leaderboards and population statistics."""
