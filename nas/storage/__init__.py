"""Where searches and studies are stored: local folders, object stores, databases."""
