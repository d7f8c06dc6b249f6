"""Commands about data, single architectures and models."""
