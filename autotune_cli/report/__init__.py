"""A result, or two and what changed between them, as one HTML file that needs nothing else."""
