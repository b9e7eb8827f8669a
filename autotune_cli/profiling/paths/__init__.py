"""What serves a model, and what it runs in each phase. One file each."""
