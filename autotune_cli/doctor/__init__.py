"""``autotune doctor``: what a machine has, lacks and does wrong, before anything is measured on it."""
