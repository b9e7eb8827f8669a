"""A run whose workers are on the nodes of a Ray cluster."""
