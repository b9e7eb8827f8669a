"""Runs an attention path on a GPU and records it, in a worker process. Importing this loads nothing."""
