"""How much memory and time a large trace takes to judge. Needs no GPU.

    python benchmarks/profile_size.py [MEGABYTES] [--gz]

Writes a trace of that size (500 by default) in the proportions of a serving trace: of eight events two are Python
frames, two operators, and the rest one launch, one kernel and the two ends of the arrow between them. Then judges it
in a process of its own and prints that one's peak memory.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

KERNELS = (
    "void flashinfer::BatchPrefillWithPagedKVCacheKernel<flashinfer::KernelTraits<(flashinfer::MaskMode)1, 128u, 2u, "
    "4u, 8u, 8u, 4u, 1u, (flashinfer::PosEncodingMode)0, __nv_bfloat16, __nv_bfloat16, __nv_bfloat16, float, int, "
    "flashinfer::DefaultAttention<false, false, false, false> >, PagedParams>(PagedParams)",
    "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT",
    "void flashinfer::norm::FusedAddRMSNormKernel<8u, __nv_bfloat16>(__nv_bfloat16*, __nv_bfloat16*, unsigned int)",
    "void at::native::vectorized_elementwise_kernel<8, at::native::FillFunctor<c10::BFloat16>, std::array<char*, 1ul> >"
    "(int, at::native::FillFunctor<c10::BFloat16>, std::array<char*, 1ul>)",
)
HEAD = '{"schemaVersion": 1, "deviceProperties": [{"id": 0, "name": "NVIDIA H200"}], "traceEvents": [\n'


def events(number: int) -> str:
    """The events around one kernel."""
    ts = 1e9 + 20.0 * number
    grid = {"device": 0, "context": 1, "stream": 7, "correlation": number, "registers per thread": 255}
    host = {"pid": 1523, "tid": 1523}
    listed = [
        {"ph": "X", "cat": "python_function", "name": "layers/linear.py(112): forward", **host, "ts": ts, "dur": 15.1},
        {
            "ph": "X",
            "cat": "python_function",
            "name": "torch/nn/modules/module.py(1787)",
            **host,
            "ts": ts,
            "dur": 14.2,
        },
        {
            "ph": "X",
            "cat": "cpu_op",
            "name": "aten::linear",
            **host,
            "ts": ts + 1,
            "dur": 9.0,
            "args": {"Ev Idx": number},
        },
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", **host, "ts": ts + 2, "dur": 7.0, "args": {"Ev Idx": number}},
        {
            "ph": "X",
            "cat": "kernel",
            "name": KERNELS[number % len(KERNELS)],
            "pid": 0,
            "tid": 7,
            "ts": ts + 9,
            "dur": 5.5,
            "args": {**grid, "shared memory": 65536, "grid": [32, 1, 8], "block": [32, 4, 1]},
        },
        {"ph": "f", "id": number, "pid": 0, "tid": 7, "ts": ts + 9, "cat": "ac2g", "name": "ac2g", "bp": "e"},
        {
            "ph": "X",
            "cat": "cuda_runtime",
            "name": "cudaLaunchKernel",
            **host,
            "ts": ts + 3,
            "dur": 4.0,
            "args": {"cbid": 211, "correlation": number},
        },
        {"ph": "s", "id": number, **host, "ts": ts + 3, "cat": "ac2g", "name": "ac2g"},
    ]
    return ",\n".join(json.dumps(event) for event in listed)


def write(file: IO[str], size: int) -> int:
    """Writes a trace of about ``size`` bytes; returns how many kernels are in it."""
    done = file.write(HEAD)
    kernels = 0
    while done < size:
        kernels += 1
        done += file.write(events(kernels) + ",\n")
    file.write('{"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "python3"}}\n]}')
    return kernels


def main() -> None:
    """Print size, kernels, seconds and peak memory."""
    numbers = [word for word in sys.argv[1:] if word.isdecimal()]
    megabytes = int(numbers[0]) if numbers else 500
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("trace.json.gz" if "--gz" in sys.argv else "trace.json")
        with gzip.open(path, "wt", compresslevel=1) if path.suffix == ".gz" else path.open("w") as file:
            kernels = write(file, megabytes * 1_000_000)
        started = time.monotonic()
        command = [sys.executable, "-m", "autotune_cli", "profile", "--from-trace", str(path), "--paged"]
        code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
        seconds = time.monotonic() - started
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        stored = path.stat().st_size / 1e6
    print(
        f"{megabytes} MB of JSON ({stored:.0f} MB on disk), {kernels} kernels: {seconds:.1f} s, peak {peak_mb:.0f} MB"
    )
    sys.exit(0 if code == 0 and peak_mb < 1000 else 1)


if __name__ == "__main__":
    main()
