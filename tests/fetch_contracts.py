"""Fetches the packages of contracts.txt for the tests' checks of calls and flags: their Python files and METADATA, of
large packages only those that tests read.

A wheel of sglang-kernel has 370 MB of CUDA kernels and can't be imported here; what tests need of it is a few hundred
kB. Run by the Makefile: ``python tests/fetch_contracts.py .venv/contracts``. Exit code 0: everything is there; 1: what
can't be had is named, with the reason kept for the tests that are skipped for it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PINS = Path(__file__).parents[1] / "contracts.txt"
# Any wheel will do for its Python files; those of CUDA packages for x86-64 are always there.
_PLATFORMS = ("--platform=manylinux2014_x86_64", "--platform=manylinux_2_34_x86_64")
_WHEELS = ("--only-binary=:all:", *_PLATFORMS, "--python-version=3.12", "--no-deps")
# Of a package that has thousands of Python files, the beginnings of the names of those that tests read.
KEPT = {
    "sglang": (
        "sglang/srt/server_args.py",
        "sglang/srt/environ.py",
        "sglang/srt/arg_groups/",
        "sglang/srt/layers/attention/flashinfer_backend.py",
    )
}
# No long wait where there is no network: the tests can do without.
_PIP = ("--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=30")


def pins(text: str) -> list[tuple[str, str]]:
    """``(distribution, version)`` of each line, comments aside."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, version) for name, _, version in (line.partition("==") for line in lines)]


def keep(wheel: Path, folder: Path, beginnings: tuple[str, ...] = ("",)) -> None:
    """Unpack a wheel's Python files and METADATA into a new ``folder``, which appears whole or not at all.

    Args:
        beginnings: of the names of the Python files that are kept.

    Raises:
        ValueError: a member that would land outside.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        unpacked = Path(made) / "unpacked"
        unpacked.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                wanted = name.endswith(".py") and name.startswith(beginnings)
                if wanted or name.endswith(".dist-info/METADATA"):
                    if not (unpacked / name).resolve().is_relative_to(unpacked.resolve()):
                        raise ValueError(f"{wheel.name} has a member outside itself: {name}")
                    archive.extract(name, unpacked)
        unpacked.rename(folder)


def fetch(distribution: str, version: str, root: Path) -> str | None:
    """Bring one package, unless it is there. The reason why it can't be had, or None."""
    folder, failed = root / f"{distribution}-{version}", root / f"{distribution}-{version}.failed"
    if folder.is_dir():
        return None
    root.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=root) as made:
            command = [sys.executable, "-m", "pip", "download", *_PIP, *_WHEELS, "--dest", made]
            done = subprocess.run([*command, f"{distribution}=={version}"], capture_output=True, text=True, check=False)
            wheels = list(Path(made).glob("*.whl"))
            if done.returncode == 0 and len(wheels) == 1:
                keep(wheels[0], folder, KEPT.get(distribution, ("",)))
                failed.unlink(missing_ok=True)
                return None
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = lines[-1] if lines else f"pip download: exit code {done.returncode}, {len(wheels)} wheels"
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        reason = f"{type(error).__name__}: {error}"
    failed.write_text(reason + "\n", encoding="utf-8")
    return reason


def main(root: Path) -> int:
    """Fetch what is missing, drop versions that are pinned no more, name what can't be had."""
    wanted = pins(PINS.read_text(encoding="utf-8"))
    reasons = {f"{name}=={version}": fetch(name, version, root) for name, version in wanted}
    for entry in root.iterdir():
        if entry.is_dir() and entry.name not in {f"{name}-{version}" for name, version in wanted}:
            shutil.rmtree(entry)
    lost = {pin: reason for pin, reason in reasons.items() if reason is not None}
    for pin, reason in lost.items():
        print(f"tests that need {pin} will be skipped: {reason}", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
