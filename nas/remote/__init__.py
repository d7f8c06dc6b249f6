"""Searches that lie at a URL (s3://, gs://, abfs://, ...) instead of on a shared file system."""
