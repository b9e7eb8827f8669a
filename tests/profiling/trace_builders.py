"""Small traces in the form of torch's profiler and of Nsight Systems, and kernel names as they are recorded."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

FA2_PAGED = (
    "void flashinfer::BatchPrefillWithPagedKVCacheKernel<flashinfer::KernelTraits<(flashinfer::MaskMode)1, 128u, 2u, "
    "4u, 8u, 8u, 4u, 1u, (flashinfer::PosEncodingMode)0, __nv_bfloat16, __nv_bfloat16, __nv_bfloat16, float, int, "
    "flashinfer::DefaultAttention<false, false, false, false> >, PagedParams>(PagedParams)"
)
FA2_RAGGED = FA2_PAGED.replace("Paged", "Ragged")
FA2_DECODE = (
    "void flashinfer::BatchDecodeWithPagedKVCacheKernel<(flashinfer::PosEncodingMode)0, 2u, 1u, 8u, 16u, 4u, 2u, "
    "flashinfer::DefaultAttention<false, false, false, false>, Params>(Params)"
)
FA3_PAGED = (
    "void flashinfer::PrefillWithKVCacheKernel<flashinfer::SparseCollectiveMainloop<PagedParams::AdditionalParams, "
    "flashinfer::AttentionKernelTraits<false, 128, 128, 128, 96, 2, cutlass::bfloat16_t, cutlass::bfloat16_t>, true, "
    "false>, flashinfer::CollectiveEpilogue<int>, false, true, flashinfer::BatchPrefillPersistentTileScheduler<int>, "
    "false>(PagedParams)"
)
FA3_RAGGED = (
    "void flashinfer::PrefillWithKVCacheKernel<flashinfer::CollectiveMainloop<RaggedParams::AdditionalParams, "
    "flashinfer::AttentionKernelTraits<true, 128, 128, 128, 128, 2, cutlass::bfloat16_t, cutlass::bfloat16_t>, true>, "
    "flashinfer::CollectiveEpilogue<int>, false, true, flashinfer::BatchPrefillPersistentTileScheduler<int>, false>"
    "(RaggedParams)"
)
FA3_SINGLE = FA3_RAGGED.replace("BatchPrefillPersistentTileScheduler", "SingleTileScheduler")
MERGE = "void flashinfer::MergeStateKernel<8u, __nv_bfloat16, __nv_bfloat16>(__nv_bfloat16*, float*, unsigned int)"
SPLIT_MERGE = (
    "void flashinfer::PersistentVariableLengthMergeStatesKernel<8u, 16u, 8u, 4u, __nv_bfloat16, __nv_bfloat16, int>"
    "(__nv_bfloat16*, float*, int*)"
)
CUDNN = "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_7_64x128x128_4x1x1_cga1x1x1_kernel0_0"
GEMM = "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT"
TORCH_SOFTMAX = "void at::native::(anonymous namespace)::cunn_SoftMaxForward<4, float, float>(float*)"
FILL = (
    "void at::native::vectorized_elementwise_kernel<8, at::native::FillFunctor<c10::BFloat16>, std::array<char*, 1ul> >"
    "(int, at::native::FillFunctor<c10::BFloat16>, std::array<char*, 1ul>)"
)
TOPK = "void flashinfer::sampling::FilteredTopKUnifiedKernel<float, int, 4, false>(float*, int*)"
STRANGE = "void acme::secret_kernel<4, float>(float*)"


class ChromeTrace:
    """A trace of torch's profiler. Time runs on by itself, in microseconds."""

    def __init__(self, **header: Any) -> None:
        self.header: dict[str, Any] = {"schemaVersion": 1, **header}
        self.events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "python3"}}]
        self.now = 1000.0
        self.last = 0
        self.label = ""

    def kernel(
        self, name: str, *, launch: str | None = "cudaLaunchKernel", correlation: int | None = None, **args: Any
    ) -> ChromeTrace:
        """A kernel and the call that launched it; it runs long after the call."""
        number = self._next() if correlation is None else correlation
        if launch is not None and correlation is None:
            self.call(launch, correlation=number)
        values = {"device": 0, "stream": 7, "correlation": number, **args}
        event = {"ph": "X", "cat": "kernel", "name": name, "pid": self._pid(0), "tid": 7, "args": values}
        self.events.append({**event, "ts": self.now + 5000.0, "dur": 10.0})
        return self

    def call(self, name: str, *, correlation: int | None = None, tid: int = 1, dur: float = 2.0) -> ChromeTrace:
        number = self._next() if correlation is None else correlation
        event = {"ph": "X", "cat": "cuda_runtime", "name": name, "pid": self._pid(99), "tid": tid, "dur": dur}
        self.events.append({**event, "ts": self.now, "args": {"correlation": number}})
        self.now += 10.0
        return self

    def graph(self, *names: str) -> ChromeTrace:
        """A graph launch and the kernels it ran, all with the launch's id."""
        number = self._next()
        self.call("cudaGraphLaunch", correlation=number)
        for name in names:
            self.now += 1.0
            self.kernel(name, correlation=number)
        return self

    def capture(self, launches: int) -> ChromeTrace:
        self.call("cudaStreamBeginCapture")
        for _ in range(launches):
            self.call("cudaLaunchKernel")
        return self.call("cudaStreamEndCapture")

    def copy_to_host(self) -> ChromeTrace:
        number = self._next()
        self.call("cudaMemcpyAsync", correlation=number)
        event = {
            "ph": "X",
            "cat": "gpu_memcpy",
            "name": "Memcpy DtoH (Device -> Pinned)",
            "pid": self._pid(0),
            "tid": 7,
        }
        args = {"device": 0, "stream": 7, "correlation": number}
        self.events.append({**event, "ts": self.now, "dur": 1.0, "args": args})
        return self

    def span(self, name: str, *, tid: int = 1) -> _Open:
        """``with trace.span("phase.eager"):``"""
        return _Open(self, name, tid)

    def document(self) -> dict[str, Any]:
        return {**self.header, "traceEvents": self.events, "traceName": "t.json"}

    def write(self, path: Path) -> Path:
        text = json.dumps(self.document()).encode()
        path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
        return path

    def _next(self) -> int:
        self.last += 1
        return self.last

    def _pid(self, number: int) -> int | str:
        return f"[{self.label}] {number}" if self.label else number


class _Open:
    def __init__(self, trace: ChromeTrace, name: str, tid: int) -> None:
        self.trace, self.name, self.tid = trace, name, tid

    def __enter__(self) -> None:
        self.start = self.trace.now
        self.trace.now += 1.0

    def __exit__(self, *_: object) -> None:
        event = {"ph": "X", "cat": "user_annotation", "name": self.name, "tid": self.tid, "ts": self.start}
        self.trace.events.append({**event, "pid": self.trace._pid(99), "dur": self.trace.now - self.start})
        self.trace.now += 1.0


# As Nsight Systems 2024 and later export them, columns that nobody reads left out.
NSYS_SCHEMA = """
CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE TARGET_INFO_GPU (id INTEGER NOT NULL, name TEXT);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  contextId INTEGER NOT NULL, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER,
  demangledName INTEGER NOT NULL, shortName INTEGER NOT NULL, graphNodeId INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, bytes INTEGER NOT NULL,
  copyKind INTEGER NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_GRAPH_TRACE (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  graphId INTEGER NOT NULL, streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER NOT NULL, end INTEGER NOT NULL, eventClass INTEGER NOT NULL,
  globalTid INTEGER, correlationId INTEGER, nameId INTEGER NOT NULL, returnValue INTEGER NOT NULL);
CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, text TEXT, globalTid INTEGER,
  textId INTEGER);
"""


class NsysTrace:
    """An SQLite export of Nsight Systems. Time in nanoseconds."""

    def __init__(self, path: Path, schema: str = NSYS_SCHEMA) -> None:
        self.path = path
        self.database = sqlite3.connect(path)
        self.database.executescript(schema)
        self.strings: dict[str, int] = {}
        self.now = 1_000_000
        self.last = 0
        self.process = self.pid(4711)

    @staticmethod
    def pid(process: int) -> int:
        """Serialized: machine 1, process, no thread."""
        return 1 << 56 | process << 24

    def string(self, text: str) -> int:
        if text not in self.strings:
            self.strings[text] = len(self.strings) + 1
            self.database.execute("INSERT INTO StringIds VALUES (?, ?)", (self.strings[text], text))
        return self.strings[text]

    def call(self, name: str, correlation: int | None = None) -> int:
        number = correlation or self._next()
        values = (self.now, self.now + 2000, 0, self.process | 5, number, self.string(name), 0)
        self.database.execute("INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        self.now += 10_000
        return number

    def kernel(self, name: str, correlation: int | None = None, node: int | None = None) -> NsysTrace:
        number = correlation or self.call("cudaLaunchKernel_v7000")
        start = self.now + 5_000_000
        named = self.string(name)
        values = (start, start + 10_000, 0, 1, 7, number, self.process, named, named, node)
        self.database.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        self.now += 1000
        return self

    def graph(self, *names: str) -> NsysTrace:
        """With ``--cuda-graph-trace=node``: kernels; without names as with ``graph``, where there is only a whole."""
        number = self.call("cudaGraphLaunch_v10000")
        for node, name in enumerate(names):
            self.kernel(name, number, node + 1)
        if not names:
            values = (self.now, self.now + 50_000, 0, 1, 7, number, self.process)
            self.database.execute("INSERT INTO CUPTI_ACTIVITY_KIND_GRAPH_TRACE VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return self

    def copy_to_host(self) -> NsysTrace:
        number = self.call("cudaMemcpyAsync_v3020")
        values = (self.now, self.now + 900, 0, 7, number, self.process, 64, 2)
        self.database.execute("INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        return self

    def span(self, name: str, start: int, registered: bool = False) -> NsysTrace:
        """A range from ``start`` to now; registered strings are ids, others text."""
        text, number = (None, self.string(name)) if registered else (name, None)
        values = (start, self.now, 59, text, self.process | 5, number)
        self.database.execute("INSERT INTO NVTX_EVENTS VALUES (?, ?, ?, ?, ?, ?)", values)
        self.now += 1000
        return self

    def write(self) -> Path:
        self.database.execute("INSERT INTO TARGET_INFO_GPU VALUES (0, 'NVIDIA H200')")
        self.database.commit()
        self.database.close()
        return self.path

    def _next(self) -> int:
        self.last += 1
        return self.last
