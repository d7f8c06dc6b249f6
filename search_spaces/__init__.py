"""What a candidate can be: architectures, their cost, the spaces and the networks."""
