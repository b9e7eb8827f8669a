"""What changed between two sides: joining them, statistics, verdicts. Needs no GPU, no torch, no kernel library."""
