"""Every format, whatever is in a result; and how formats are found."""

from __future__ import annotations

import importlib
import io
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from render_builders import candidate, decode, failed, result, run_file

from autotune_cli.api.frames import FIX
from autotune_cli.errors import UnknownName
from autotune_cli.render.formats import KINDS, Page, find_format, format_names
from autotune_cli.render.run_formats import RunView
from autotune_cli.results.files import dump_run

FILES = {name for kind in KINDS for name in format_names(kind)}
# A terminal's colour, a spreadsheet's formula, markup, a line's end, an invisible character.
HOSTILE = "=cmd|'x'!A0 \x1b[31m<b>@someone|\n\u202e"


def view() -> RunView:
    fast, bad = candidate("fast", 20.0), failed(HOSTILE, "error", HOSTILE, default=True)
    return RunView(Path("runs/x.json"), run_file(result(decode(), fast, bad), name=HOSTILE[:5]), every=True)


@pytest.mark.parametrize("name", [name for name in format_names("run") if not find_format("run", name).about.binary])
def test_nothing_in_a_text_is_obeyed(name: str) -> None:
    text = find_format("run", name).render(view(), Page())
    assert isinstance(text, str)
    assert text.endswith("\n")
    assert "fast" in text
    assert all(character.isprintable() or character == "\n" for character in text)
    if name == "csv":
        assert not re.search(r"(^|,)\"?[=+@-]", text, flags=re.MULTILINE)


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_format_is_called_like_its_file(name: str) -> None:
    about = importlib.import_module(f"autotune_cli.render.formats.{name}").ABOUT
    assert about.extension.startswith(".")
    assert set(about.renderers) <= set(KINDS)
    for kind, render in about.renderers.items():
        assert find_format(kind, name).render is render


def test_formats_stand_in_one_order_the_table_first() -> None:
    for kind in KINDS:
        assert format_names(kind)[:4] == ("table", "markdown", "json", "csv")
    files = [importlib.import_module(f"autotune_cli.render.formats.{name}").ABOUT for name in FILES]
    assert len({about.extension for about in files}) == len({about.rank for about in files}) == len(files)


def test_a_kind_has_its_own_formats_only() -> None:
    assert find_format("run", "parquet").about.binary
    with pytest.raises(UnknownName, match=r"unknown format 'parquet' \(known: table, markdown, json, csv\)"):
        find_format("diff", "parquet")
    with pytest.raises(UnknownName, match=r"unknown format 'jsn'; did you mean 'json'\?"):
        find_format("run", "jsn")


def test_asking_what_formats_there_are_loads_no_renderer() -> None:
    code = (
        "import sys\nfrom autotune_cli.render.formats import format_names\nassert format_names('run')\n"
        "print(*sorted({'rich', 'pandas', 'pyarrow', 'pydantic', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_formats_for_text_need_neither_pandas_nor_torch() -> None:
    code = f"""
import sys
for name in ("pandas", "pyarrow", "torch"):
    sys.modules[name] = None
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_render_formats import KINDS, Page, find_format, format_names, view
for form in (find_format("run", name) for name in format_names("run")):
    assert form.about.binary or "fast" in form.render(view(), Page())
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_parquet_has_the_columns_of_the_frame_with_their_types() -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    from autotune_cli.api.frames import candidates_frame

    content = find_format("run", "parquet").render(view(), Page())
    assert isinstance(content, bytes)
    pandas.testing.assert_frame_equal(pandas.read_parquet(io.BytesIO(content)), candidates_frame(view().run))


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_without_its_packages_parquet_names_the_extra(
    package: str, monkeypatch: pytest.MonkeyPatch, usage: Callable[..., Any], tmp_path: Path
) -> None:
    other = ({"pandas", "pyarrow"} - {package}).pop()
    monkeypatch.setitem(sys.modules, other, ModuleType(other))
    monkeypatch.setattr(sys.modules[other], "__spec__", ModuleSpec(other, None))
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "x.json").write_text(dump_run(view().run))
    done = usage("show", "x.json", "--format", "parquet", "--output", "x.parquet")
    assert done.code == 2
    assert done.err.splitlines()[-1] == (
        f"error: --format parquet needs {package}, which is not installed; get it: {FIX}"
    )
    assert find_format("run", "parquet").about.fix == FIX
    assert not (tmp_path / "x.parquet").exists()


def test_a_binary_format_goes_to_a_file(usage: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(dump_run(view().run))
    for words in (("show", "x.json"), ("tune", "--device", "cpu")):
        done = usage(*words, "--format", "parquet")
        assert (done.code, done.out) == (2, "")
        told = "error: --format: parquet is binary, so it goes to a file: say --output FILE.parquet"
        # Of tune it is all that is said: nothing was measured before.
        assert done.err.splitlines()[0 if words[0] == "tune" else -1 :] == [told]


def test_a_parquet_file_is_written(usage: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed: pip install pandas")
    (tmp_path / "x.json").write_text(dump_run(view().run))
    done = usage("show", "x.json", "--format", "parquet", "--output", "folder/x.parquet")
    assert (done.code, done.out) == (0, "")
    assert done.err.splitlines()[-1] == "wrote folder/x.parquet"
    assert pandas.read_parquet(tmp_path / "folder" / "x.parquet")["candidate"].tolist() == ["fast", HOSTILE]
