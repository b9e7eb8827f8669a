"""docs/contributing.md, followed: a toy verdict and a toy foreign format in a copy of the program, in exactly the files
that the page names, used through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from contributing import Copy, files_of
from pages import ROOT

RECORDED = ROOT / "tests" / "data" / "diff" / "h200.20261121_073639.json"


def diff(copy: Copy, *words: str, code: int) -> str:
    return copy.autotune("diff", *words, code=code).stdout


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_a_toy_verdict(copy: Copy) -> None:
    table, decisions, page = files_of("Adding a verdict to `autotune diff`")
    copy.replace(
        table,
        "    FASTER = ",
        '    DOUBLED = "doubled", VerdictRow(\n'
        "        rank=5, subject=Subject.TIMES, counted=Counted.IF_ANY, shown=Shown.ALWAYS, fail_on=FailOn.DOUBLED,\n"
        "        tone=Tone.WORSE)\n"
        "    FASTER = ",
    )
    copy.replace(
        table,
        '    CHOICE = "choice", "changed',
        '    DOUBLED = "doubled", "twice as slow"\n    CHOICE = "choice", "changed',
    )
    copy.replace(
        decisions,
        "        verdict = ChangeVerdict.SLOWER if found.value > 0.0 else ChangeVerdict.FASTER\n",
        "        verdict = ChangeVerdict.SLOWER if found.value > 0.0 else ChangeVerdict.FASTER\n"
        "        if found.value > math.log(2.0):\n"
        "            verdict = ChangeVerdict.DOUBLED\n",
    )
    # The page of users is no part of the copy.
    assert copy.edited | {page} == {table, decisions, "docs/diff.md"}

    document = json.loads(RECORDED.read_text(encoding="utf-8"))
    (copy.work / "a.json").write_text(json.dumps(document), encoding="utf-8")
    slow, slower = document["workloads"][0]["candidates"], document["workloads"][1]["candidates"]
    first = next(each for each in slow if each["status"] == "ok")
    second = next(each for each in slower if each["status"] == "ok")
    for each, factor in ((first, 3.0), (second, 1.5)):
        for name in ("rounds_us", "interval_us"):
            each[name] = [us * factor for us in each[name]]
        each["median_us"] *= factor
    (copy.work / "b.json").write_text(json.dumps(document), encoding="utf-8")

    shown = diff(copy, "a.json", "b.json", "--fail-on", "doubled", code=1)
    words = [line.split()[0] for line in shown.splitlines() if line.startswith(("doubled", "slower"))]
    assert words == ["doubled", "slower"]
    assert "1 slower, 1 doubled, 0 faster" in shown
    assert shown.splitlines()[-1] == "exit 1: 1 twice as slow"
    assert "🔴 doubled |" in diff(copy, "a.json", "b.json", "--fail-on", "none", "--format", "markdown", code=0)
    written = json.loads(diff(copy, "a.json", "b.json", "--fail-on", "none", "--format", "json", code=0))
    assert written["candidates"][0]["verdict"] == "doubled"
    assert (written["counts"]["doubled"], written["counts"]["verdicts"]["doubled"]) == (1, 1)


TOY = '''"""Choices of a toy: a JSON object with ``toy`` and ``picks``."""

from __future__ import annotations

from pathlib import Path

from autotune_cli.comparing.foreign.choices import ForeignChoices, fields_of
from autotune_cli.comparing.foreign.format import FileFormat
from autotune_cli.errors import BadFile


class ToyChoices(FileFormat):
    """Files of the toy."""

    def recognises(self, document: object, path: Path) -> bool:
        return isinstance(document, dict) and "toy" in document

    def read(self, document: object, path: Path) -> ForeignChoices:
        assert isinstance(document, dict)
        if not isinstance(document.get("picks"), dict):
            raise BadFile(path=path, detail="picks: must be an object")
        return ForeignChoices(path, "Toy", fields_of(document["toy"]), fields_of(document["picks"]))
'''


def test_a_toy_foreign_format(copy: Copy) -> None:
    file, formats = files_of("Adding a foreign file format to `autotune diff`")
    file = file.replace("<name>", "toy")
    copy.create(file, TOY)
    copy.replace(formats, "    FlashinferCache(),\n", "    FlashinferCache(),\n    ToyChoices(),\n")
    copy.replace(
        formats,
        "from autotune_cli.comparing.foreign.format import",
        "from autotune_cli.comparing.foreign.toy import ToyChoices\nfrom autotune_cli.comparing.foreign.format import",
    )
    for name, gpu, pick in (("a", "H200", "x"), ("b", "H200", "y"), ("c", "B200", "x")):
        document = {"toy": {"gpu": gpu, "version": name}, "picks": {"decode": pick, "prefill": "z"}}
        (copy.work / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    shown = diff(copy, "a.json", "b.json", "--fail-on", "choice", code=1)
    assert "environment: version a -> b" in shown
    assert "note: Toy's caches hold choices and no times" in shown
    assert "1 choices unchanged, 1 changed" in shown
    assert "the GPU differs" in diff(copy, "a.json", "c.json", code=3)
    assert copy.edited == {file, formats}
