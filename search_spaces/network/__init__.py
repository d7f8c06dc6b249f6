"""The torch network of an Architecture."""
