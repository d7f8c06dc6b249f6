"""The `scrfd-nas` command line: each file parses flags, makes one call and prints."""
