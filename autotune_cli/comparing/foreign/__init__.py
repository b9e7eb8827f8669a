"""Files of other programs' autotuners: choices without times. One file a format, all of them listed in ``formats``."""
