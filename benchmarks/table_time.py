"""How long a server's question to a table takes: `python benchmarks/table_time.py`. On any machine."""

from __future__ import annotations

import timeit

from autotune_cli import load_table

DEVICE = "NVIDIA H100 80GB HBM3"
COLD, REPEATED = 5_000, 200_000


def main() -> None:
    """Print the time of a first and of a repeated question, the least of five tries."""
    table = load_table("llama-3.1-8b", device=DEVICE)
    contexts = iter(range(1, 1 << 30))
    cold = min(
        timeit.repeat(lambda: table.best("attention.decode", batch_size=48, context=next(contexts)), number=COLD)
    )
    again = min(timeit.repeat(lambda: table.best("attention.decode", batch_size=48, context=9000), number=REPEATED))
    load = min(timeit.repeat(lambda: load_table("llama-3.1-8b", device=DEVICE), number=1))
    print(f"first question {1e6 * cold / COLD:.2f} us, repeated {1e6 * again / REPEATED:.2f} us, loading {load:.2f} s")


if __name__ == "__main__":
    main()
