"""SGLang's rules as pure functions: which attention path a forward pass takes, how a captured prefill is padded.

Rules are kept as SGLang has them, faults included. Nothing here knows of traces, workers or kernels. Needs no torch.
"""
