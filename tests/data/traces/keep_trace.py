"""Makes a trace of torch's profiler small: what the reader ignores goes, what it reads stays as it is.

    python tests/data/traces/keep_trace.py TRACE KEPT

Prints one line: the kept file's size, and what is in each phase. Needs no GPU.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

from autotune_cli.profiling.attribute import split_into_phases
from autotune_cli.profiling.classify import load_classifier
from autotune_cli.profiling.phases import Recording
from autotune_cli.profiling.readers.finding import read_trace

# Operators, arrows between launches and kernels, ranges drawn on the GPU's line, names of processes: read by nobody.
CATEGORIES = frozenset({"kernel", "gpu_memcpy", "gpu_memset", "cuda_runtime", "cuda_driver", "user_annotation"})
HEADER = ("schemaVersion", "deviceProperties", "cuda_driver_version", "cuda_runtime_version", "cupti_version")
MOST_BYTES = 60_000


def smaller(document: dict[str, Any]) -> dict[str, Any]:
    """The document without events that say nothing to the reader."""
    kept = [event for event in document["traceEvents"] if event.get("cat") in CATEGORIES]
    return {**{key: document[key] for key in HEADER if key in document}, "traceEvents": kept}


def recording(path: Path) -> Recording:
    """The phases that the program sees."""
    return split_into_phases(read_trace(path), load_classifier())


def main() -> None:
    """Keep the trace if it is judged as before."""
    source, target = map(Path, sys.argv[1:])
    if not source.is_file():
        sys.exit("not recorded")
    document = json.loads(gzip.decompress(source.read_bytes()))
    text = json.dumps(smaller(document), separators=(",", ":"))
    # Without a time of day: the same events are the same file.
    packed = gzip.compress(text.encode(), compresslevel=9, mtime=0)
    target.write_bytes(packed)
    before, after = recording(source), recording(target)
    if before.phases != after.phases or before.devices != after.devices:
        target.unlink()
        sys.exit("not kept: it would be judged otherwise")
    if len(packed) > MOST_BYTES:
        target.unlink()
        sys.exit(f"not kept: {len(packed)} bytes")
    seen = [
        f"{phase.name} {' '.join(f'{count} {family}' for family, (count, _) in phase.families().items()) or '-'}"
        for phase in after.phases
        if phase.demand == "strict"
    ]
    print(f"{len(packed) / 1000:.1f} kB: {'; '.join(seen)}")


if __name__ == "__main__":
    main()
