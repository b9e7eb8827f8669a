"""A path that is run here: what it takes, and the verdict on what was recorded. Runs without torch."""
