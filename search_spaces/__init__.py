"""Search spaces: architectures, their cost, the spaces of both stages, and the networks."""
