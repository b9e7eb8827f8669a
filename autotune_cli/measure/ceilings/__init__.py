"""The ceilings of a device, measured: memory bandwidth and matrix rate. Importing this loads no torch.

A ceiling is a maximum, so it is the best of what was tried, never a middle: what a device did once it can do. The
timer is the run's own, so that a ceiling and a kernel are held against the same clock; CUPTI's kernel times hold no
gap before a launch or between two. It can't overstate: it times whole kernels of 100 us and more to 1 us or less.
"""
