"""Timers, GPU conditions and statistics."""
