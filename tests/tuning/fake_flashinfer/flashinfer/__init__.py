"""In the place of FlashInfer: its autotuner, see :mod:`flashinfer.autotuner`."""
