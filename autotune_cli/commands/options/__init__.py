"""The options of commands that have many: one frozen dataclass a file, and what several share in ``shared``."""
