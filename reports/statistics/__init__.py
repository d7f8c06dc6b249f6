"""Statistics of many hard APs, as plain numbers."""
