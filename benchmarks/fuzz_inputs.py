"""Whole files of every type that the program reads, and their mutations. For ``fuzz.py``.

A mutation keeps most of a file, so that what is wrong with it is met deep inside a reader. Structured ones change
values, keys, lines, cells and columns; others change bytes.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import gzip
import json
import random
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from autotune_cli.results.files import read_run
from autotune_cli.results.journal import Journal
from autotune_cli.results.records import JournalHeader, RoundRecord
from autotune_cli.results.schema import Conditions

ROOT = Path(__file__).resolve().parent.parent
_FLASHINFER = ROOT / "tests" / "comparing" / "written_by_flashinfer"
# Stand for numbers that json can't write.
_DIGITS = {"@400@": "1" + "0" * 400, "@5000@": "7" * 5000, "@1e400@": "1e400", "@-0@": "-0.0", "@nan@": "NaN"}
_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**31, 2**63, -(2**63), 2**64, 1.5, 1e-320, 1e300, -1e300, *_DIGITS),
    *("", " ", "x", "\0", "\ud800", "\x1b[31m", "\n# PASS\n", "=1+1", "[bold]", "é\u202e", "a" * 3000, "(a" * 3000),
    *("_Z" + "1aS_" * 30, "at::native::" * 20_000, "CUTLASS<" * 5000, "_Z1f1PIiiES_IS0_S0_ES_IS1_S1_ES_IS2_S2_E" * 9),
    *([], {}, [[]], [0], {"": {}}, {"a": [1, "2", None]}, "2026-11-21T09:30:12Z", "bfloat16", "ok", "attention.decode"),
)
_TOKENS = (
    *(b"NaN", b"-Infinity", b"1e999", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b'"', b"\\u0000", b"\\ud800", b"{", b"}"),
    *(b"[", b"]", b",", b"[" * 5000, b'{"a":' * 3000, b"9" * 5000, b"\n", b"\r", b"\x1b", b"'", b"= 1", b"\n[a.b]\n"),
)
_PATTERNS = (
    *("(a+)+$", "(\\w+\\s?)*$", "(.*)*(.*)*(.*)*x$", "(", "[", "a{99999999999}", "(?u)(?a)", "(?i", "\\", "\\1"),
    *("((((((((((" * 20 + "))))))))))" * 20, "(" * 3000, "x" * 100_000, "(?<=a*)b", "(?:a|b|ab)*c$", "[[a]", "^"),
    *("(?=(.+)+)\\1$", "(?:" * 60 + "a" + "+)" * 60 + "$", "\\N{x}", "(?(1)a|b)", "(?L)a", ".*.*.*.*.*.*.*.*.*=x"),
    *("", "(?P<a>x)(?P<a>y)", "(\\w|\\W)*\\bx$", "(?:(?:\\w+:*)+<*)+=", "(" * 900 + "a" + ")" * 900),
)
_SQL = (
    *("NULL", "''", "'x'", "x'00ff80'", "-1", "1e300", "9223372036854775807", "-9223372036854775808", "1.5", "'7'"),
    *("zeroblob(100000)", "'cudaGraphLaunch'", "char(0)", "cast(x'edA080' as text)", "9e999", "'phase.eager'"),
)  # fmt: skip

_BOMBS = (b" ", b"1", b"[", b'"')

Mutation = Callable[[random.Random], bytes]


def kinds() -> tuple[str, ...]:
    """Types of files."""
    return tuple(_MUTATIONS)


def mutated(kind: str, generator: random.Random) -> bytes:
    """A mutated file of a kind."""
    return _MUTATIONS[kind](generator)


@functools.cache
def whole(kind: str) -> bytes:
    """The file that mutations of a kind start from."""
    return _WHOLE[kind]()


def make_whole(kinds: tuple[str, ...]) -> None:
    """Make what all inputs of these kinds share, before it takes their time."""
    for kind in kinds:
        whole(kind)
        if kind == "trace gz":
            for byte in _BOMBS:
                _bomb(byte)


def _run(name: str) -> bytes:
    document = json.loads((ROOT / "cache" / f"{name}.json").read_bytes())
    document["workloads"] = sorted(document["workloads"], key=lambda result: len(result["candidates"]))[:3]
    return json.dumps(document, indent=1).encode()


def _trace() -> bytes:
    packed = resources.files("autotune_cli.profiling").joinpath("examples", "paged.json.gz").read_bytes()
    return gzip.decompress(packed)


def _rules() -> bytes:
    kinds = {r"\bBatch(?:Prefill|Decode)WithPaged": "paged", r"\bMergeStateKernel\b": "merge", "^_fwd$": "ragged"}
    kept = 'library = "mine", reason = "why"'
    lines = [f"'{pattern}' = {{ family = \"{family}\", {kept} }}" for pattern, family in kinds.items()]
    return "\n".join(("# rules", *lines, "'(?i:gemm)' = { family = 'benign', role = 'matmul' }")).encode()


def _config() -> bytes:
    inner = {
        "model_type": "gemma3_text", "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "hidden_size": 4096, "num_hidden_layers": 4, "max_position_embeddings": 8192, "sliding_window": 1024,
        "layer_types": ["sliding_attention", "full_attention"] * 2, "torch_dtype": "bfloat16", "rope_theta": 1e6,
        "query_pre_attn_scalar": 128, "attn_logit_softcapping": 50.0, "vocab_size": 1000, "architectures": ["X"],
    }  # fmt: skip
    return json.dumps({**inner, "text_config": inner}, indent=2).encode()


def _journal() -> bytes:
    run = read_run(ROOT / "cache" / "gpt-oss-120b.json")
    done = min(run.workloads, key=lambda result: len(result.candidates))
    header = JournalHeader(
        kind="run",
        name="fuzz",
        created=run.created,
        command=run.command,
        environment=run.device,
        settings=run.settings,
        workloads={done.key: done.identity},
    )
    with tempfile.TemporaryDirectory() as folder, Journal.create(Path(folder), header, datetime.now(UTC)) as journal:
        for candidate in done.candidates:
            journal.vetted(done.key, candidate)
        for number in range(3):
            times = {candidate.key: 10.0 + number for candidate in done.candidates}
            journal.round(done.key, RoundRecord(conditions=Conditions(round=number), times=times))
        journal.done(done)
        return journal.path.read_bytes()


# As Nsight Systems exports them, columns that nobody reads left out.
_TABLES = """
CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE TARGET_INFO_GPU (id INTEGER NOT NULL, name TEXT);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, demangledName INTEGER NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER NOT NULL, end INTEGER NOT NULL, deviceId INTEGER NOT NULL,
  streamId INTEGER NOT NULL, correlationId INTEGER, globalPid INTEGER, copyKind INTEGER NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER NOT NULL, end INTEGER NOT NULL, globalTid INTEGER,
  correlationId INTEGER, nameId INTEGER NOT NULL);
CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, text TEXT, globalTid INTEGER,
  textId INTEGER);
INSERT INTO StringIds VALUES (1, 'void flashinfer::BatchPrefillWithPagedKVCacheKernel<1>()'),
  (2, 'cudaLaunchKernel_v7000'), (3, 'phase.replay'), (4, 'cudaGraphLaunch_v10000'),
  (5, 'void at::native::fill_kernel<float>()');
INSERT INTO TARGET_INFO_GPU VALUES (0, 'NVIDIA H200');
INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (5000, 6000, 0, 7, 1, 72057594117017600, 1),
  (7000, 8000, 0, 7, 2, 72057594117017600, 5), (9000, 9500, 0, 7, 3, 72057594117017600, 1);
INSERT INTO CUPTI_ACTIVITY_KIND_MEMCPY VALUES (8100, 8200, 0, 7, 4, 72057594117017600, 2);
INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (1000, 1100, 72057594117017605, 1, 2),
  (1200, 1300, 72057594117017605, 2, 2), (2000, 2100, 72057594117017605, 3, 4);
INSERT INTO NVTX_EVENTS VALUES (900, 1500, 59, 'phase.eager', 72057594117017605, NULL),
  (1900, 2500, 59, NULL, 72057594117017605, 3);
"""


def _nsys(change: Callable[[sqlite3.Connection], None] = lambda database: None) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.sqlite"
        database = sqlite3.connect(path)
        database.executescript(_TABLES)
        with contextlib.suppress(sqlite3.Error):
            change(database)
        database.commit()
        database.close()
        return path.read_bytes()


def _nsys_changed(generator: random.Random) -> bytes:
    def change(database: sqlite3.Connection) -> None:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for _ in range(generator.randint(1, 3)):
            table, value = generator.choice(tables), generator.choice(_SQL)
            columns = [(row[1], row[2]) for row in database.execute(f"PRAGMA table_info({table})")]
            if not columns:
                return
            column = generator.choice(columns)[0]
            which = generator.randrange(8)
            if which < 4:
                # Columns without types, as in "lazily" written exports: any value stays what it is.
                if generator.random() < 0.8:
                    listed = ", ".join(f'"{name}"' for name, _ in columns)
                    database.executescript(
                        f'CREATE TABLE "t_"({listed}); INSERT INTO t_ SELECT * FROM {table}; DROP TABLE {table}; '
                        f"ALTER TABLE t_ RENAME TO {table}"
                    )
                database.execute(f'UPDATE {table} SET "{column}" = {value} WHERE rowid % {generator.randint(1, 2)} = 0')
            elif which == 4:
                database.execute(f"DROP TABLE {table}")
            elif which == 5:
                database.executescript(f"ALTER TABLE {table} RENAME TO t_; CREATE VIEW {table} AS SELECT * FROM t_")
            elif which == 6:
                database.execute(f'ALTER TABLE {table} RENAME COLUMN "{column}" TO "x_"')
                database.execute(f'ALTER TABLE {table} ADD COLUMN "{column}" GENERATED ALWAYS AS ({value}) VIRTUAL')
            else:
                database.execute(f'ALTER TABLE {table} RENAME COLUMN "{column}" TO "{column}_"')

    return _nsys(change)


def _bytes_of(kind: str) -> Mutation:
    return lambda generator: _change_bytes(whole(kind), generator)


def _change_bytes(data: bytes, generator: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(generator.choice((1, 1, 2, 8))):
        at = generator.randrange(len(changed) + 1)
        end = min(len(changed), at + generator.choice((1, 2, 16, 300)))
        which = generator.randrange(6)
        if which == 0 and at < len(changed):
            changed[at] ^= 1 << generator.randrange(8)
        elif which == 1:
            del changed[at:end]
        elif which == 2:
            changed[at:at] = changed[at:end]
        elif which == 3:
            changed[at:at] = generator.choice(_TOKENS)
        elif which == 4:
            changed[at:end] = generator.randbytes(end - at)
        elif generator.random() < 0.5:
            del changed[at:]
    return bytes(changed)


def _json_of(kind: str) -> Mutation:
    return lambda generator: _change_json(_parsed(kind), generator)


@functools.cache
def _parsed_once(kind: str) -> Any:
    return json.loads(whole(kind))


def _parsed(kind: str) -> Any:
    return copy.deepcopy(_parsed_once(kind))


def _change_json(document: Any, generator: random.Random) -> bytes:
    for _ in range(generator.choice((1, 1, 1, 2, 5))):
        document = _change_value(document, generator)
    text = _dumped(document)
    for stand_in, digits in _DIGITS.items():
        text = text.replace(f'"{stand_in}"', digits)
    return text.encode("utf-8", "surrogatepass")


def _dumped(document: Any) -> str:
    """As JSON, deeper than Python's limit too: one change may put a deep value into another's."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        return json.dumps(document)
    finally:
        sys.setrecursionlimit(before)


def _change_value(document: Any, generator: random.Random) -> Any:
    # A walk down to a random value: every depth has its share, however many records there are.
    parent, key, here = None, None, document
    while isinstance(here, dict | list) and here and (parent is None or generator.random() < 0.85):
        parent = here
        key = generator.choice(list(here)) if isinstance(here, dict) else generator.randrange(len(here))
        here = here[key]
    # Half of them of the same type: those get past the first look.
    alike = [value for value in _VALUES if type(value) is type(here)]
    value = copy.deepcopy(generator.choice(alike if alike and generator.random() < 0.5 else _VALUES))
    if parent is None:
        return value
    which = generator.randrange(9)
    if which < 4:
        parent[key] = value
    elif which == 4:
        del parent[key]
    elif which == 5 and isinstance(parent, dict):
        parent[generator.choice(("", "x", "\ud800", "\x1b[2J", str(key) + "_", "a" * 2000))] = parent.pop(key)
    elif which == 6 and isinstance(parent, list):
        parent[key:key] = [copy.deepcopy(here)] * generator.choice((1, 3, 500))
    elif which == 7:
        for _ in range(generator.choice((1, 20, 400))):
            here = [here] if generator.random() < 0.5 else {"a": here}
        parent[key] = here
    elif isinstance(here, int | float) and not isinstance(here, bool):
        parent[key] = generator.choice((-here, here * 1e9, here / 1e9, here + 1, str(here), f"@{400}@"))
    else:
        parent[key] = [here, value]
    return document


def _change_lines(generator: random.Random) -> bytes:
    lines = whole("journal").splitlines(keepends=True)
    at = generator.randrange(len(lines))
    which = generator.randrange(5)
    if which < 3:
        lines[at] = _change_json(json.loads(lines[at]), generator) + b"\n"
    elif which == 3:
        lines.insert(generator.randrange(len(lines)), lines[at])
    else:
        del lines[at]
    return b"".join(lines)


def _change_rules(generator: random.Random) -> bytes:
    pattern = generator.choice(_PATTERNS)
    if generator.random() < 0.5:
        pattern = generator.choice(("void", "(?:)", "\\b", ".*")) + pattern
    value = generator.choice(("benign", "paged", "x", "", "unknown"))
    line = f"'{pattern}' = {{ family = '{value}' }}\n".encode()
    others = generator.choice(
        (b"x = 1\n", b"[a]\n", b"'k' = " + b"[" * 3000, b"'k' = " + b"9" * 5000, b"a.b.c = 'x'\n")
    )
    return (line if generator.random() < 0.8 else others) + whole("rules")


def _change_gzip(generator: random.Random) -> bytes:
    which = generator.randrange(4)
    if which == 0:
        return _change_bytes(_packed(), generator)
    if which == 1:
        return _packed() + generator.choice((b"x", _packed(), b"\0" * 100))
    if which == 2 and generator.random() < 0.05:
        return _bomb(generator.choice(_BOMBS))
    return gzip.compress(_change_json(_parsed("trace"), generator), 1)


@functools.cache
def _packed() -> bytes:
    return gzip.compress(whole("trace"), 6, mtime=0)


@functools.cache
def _bomb(byte: bytes) -> bytes:
    """Some hundred kilobytes that are 128 MiB, in the place of an event."""
    return gzip.compress(b'{"traceEvents": [' + byte * (128 << 20), 6, mtime=0)


_WHOLE: dict[str, Callable[[], bytes]] = {
    "run": lambda: _run("gpt-oss-120b"),
    "run v1": lambda: _run("deepseek-v3.2-normal"),
    "cache": lambda: _run("gpt-oss-120b"),
    "flashinfer cache": lambda: (_FLASHINFER / "v1.json").read_bytes(),
    "flashinfer entry": lambda: next(iter(sorted(_FLASHINFER.glob("v2/*/entries/*.json")))).read_bytes(),
    "flashinfer manifest": lambda: next(_FLASHINFER.glob("v2/*/manifest.json")).read_bytes(),
    "trace": _trace,
    "trace gz": _packed,
    "nsys": _nsys,
    "rules": _rules,
    "config": _config,
    "journal": _journal,
}


def _either(*mutations: Mutation) -> Mutation:
    return lambda generator: generator.choice(mutations)(generator)


_MUTATIONS: dict[str, Mutation] = {
    **{
        kind: _either(_json_of(kind), _json_of(kind), _bytes_of(kind))
        for kind in _WHOLE
        if kind not in ("trace gz", "nsys", "rules", "journal")
    },
    "trace gz": _change_gzip,
    "nsys": _either(_nsys_changed, _nsys_changed, _bytes_of("nsys")),
    "rules": _either(_change_rules, _change_rules, _bytes_of("rules")),
    "journal": _either(_change_lines, _change_lines, _bytes_of("journal")),
}
