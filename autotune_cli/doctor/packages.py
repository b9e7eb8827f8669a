"""Do the installed packages fit each other? Read from their own metadata; none of them is imported."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Mapping

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from autotune_cli.doctor.findings import Finding, State
from autotune_cli.kernels.libraries import LIBRARIES
from autotune_cli.measure.installed import installed_version

_GROUP = "packages"
# Beside the libraries: what they are built with, and the engines that pin them.
_BESIDE = frozenset(
    {
        "apache-tvm-ffi",
        "cuda-bindings",
        "cuda-core",
        "cuda-python",
        "cuda-toolkit",
        "flashinfer-cubin",
        "flashinfer-jit-cache",
        "ninja",
        "sglang",
        "vllm",
    }
)
_NVIDIA = "nvidia-"
_FLASHINFER = "flashinfer-python"
# From 12.8 on cuda-python is a name for cuda-bindings; before, it has files of its own at the same places.
_OWN_FILES = Version("12.8")
# CUDA's packages whose versions are those of the toolkit. What torch 2.9 and older bring ends in -cu12.
_TOOLKIT = ("nvcc", "runtime", "nvrtc", "cupti", "crt")


def package_findings(is_gpu: bool) -> Iterator[Finding]:
    """Packages that don't fit each other.

    Args:
        is_gpu: of a GPU. Without one only torch's own packages matter.
    """
    installed = _installed()
    yield from _twice(installed)
    if is_gpu:
        yield from _flashinfer(installed)
        yield from _cuda_python(installed)
    conflicts = list(_conflicts(installed, is_gpu))
    yield from conflicts
    if not conflicts:
        count = len(installed)
        text = f"{count} packages of kernels and CUDA ask for nothing that isn't here"
        yield Finding(_GROUP, "requirements", State.OK, text if count else "no kernel library is installed")


def toolkit_findings(cuda: str | None) -> Iterator[Finding]:
    """CUDA's own packages, held against the CUDA that torch was built with.

    Args:
        cuda: ``13.0``; None: unknown.
    """
    found: dict[str, str] = {}
    for name in _TOOLKIT:
        for suffix in ("", "-cu12", "-cu13"):
            version = installed_version(f"{_NVIDIA}cuda-{name}{suffix}")
            if version is not None:
                found[f"{name}{suffix}"] = version
    if not found:
        return
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    others = [name for name, version in found.items() if cuda and _is_other_minor(version, cuda)]
    if not others:
        yield Finding(_GROUP, "nvidia-cuda-*", State.OK, listed)
        return
    text = (
        f"{listed}; torch was built with CUDA {cuda}, and {', '.join(others)} {'is' if len(others) == 1 else 'are'} not"
    )
    wanted = " ".join(f"'nvidia-cuda-{name}=={cuda}.*'" for name in others)
    yield Finding(_GROUP, "nvidia-cuda-*", State.WARNING, text, f"pip install {wanted}")


def _is_other_minor(version: str, cuda: str) -> bool:
    """13.1.115 beside 13.0. Another major version is for another program."""
    try:
        here, there = Version(version), Version(cuda)
    except InvalidVersion:
        return False
    return here.major == there.major and here.minor != there.minor


def _installed() -> dict[str, importlib.metadata.Distribution]:
    """By canonical name, as far as they matter here."""
    wanted = _BESIDE | {canonicalize_name(name) for library in LIBRARIES for name in library.distributions}
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions():
        # Of a half-removed package there may be no name.
        raw = distribution.metadata["Name"] if distribution.metadata else None
        name = canonicalize_name(raw) if raw else ""
        if name in wanted or name.startswith(_NVIDIA):
            # The first on the path is the one that is imported.
            found.setdefault(name, distribution)
    return found


def _twice(installed: Mapping[str, importlib.metadata.Distribution]) -> Iterator[Finding]:
    """Packages with the same module: one has overwritten files of the other."""
    for library in LIBRARIES:
        names = [name for name in library.distributions if canonicalize_name(name) in installed]
        if len(names) > 1:
            text = f"{' and '.join(names)} both bring {library.imported}, each with some of its files"
            fix = f"pip uninstall -y {' '.join(names)} && pip install {names[0]}"
            yield Finding(_GROUP, library.name, State.PROBLEM, text, fix)


def _flashinfer(installed: Mapping[str, importlib.metadata.Distribution]) -> Iterator[Finding]:
    """FlashInfer's packages of compiled kernels. It refuses those of another version (``flashinfer/jit/env.py``, 0.6.10
    to 0.7.2): cubins must have the same, the version of a cache of modules must begin with FlashInfer's.
    """
    if _FLASHINFER not in installed:
        return
    version = installed[_FLASHINFER].version
    for name in ("flashinfer-jit-cache", "flashinfer-cubin"):
        if name not in installed:
            continue
        here = installed[name].version
        fits = here.startswith(version) if name == "flashinfer-jit-cache" else here == version
        if fits:
            yield Finding(_GROUP, name, State.OK, f"{here}, as FlashInfer")
            continue
        text = f"{here} beside FlashInfer {version}, which refuses to be imported with it"
        yield Finding(_GROUP, name, State.PROBLEM, text, f"pip uninstall -y {name}, or install its version {version}")


def _cuda_python(installed: Mapping[str, importlib.metadata.Distribution]) -> Iterator[Finding]:
    if "cuda-python" not in installed or "cuda-bindings" not in installed:
        return
    versions = [installed[name].version for name in ("cuda-python", "cuda-bindings")]
    try:
        is_whole = Version(versions[0]) < _OWN_FILES
    except InvalidVersion:
        return
    if is_whole:
        text = f"{versions[0]} has overwritten files of cuda-bindings {versions[1]}"
        fix = "pip uninstall -y cuda-python cuda-bindings && pip install 'cuda-python>=12.8'"
        yield Finding(_GROUP, "cuda-python", State.PROBLEM, text, fix)


def _conflicts(installed: Mapping[str, importlib.metadata.Distribution], is_gpu: bool) -> Iterator[Finding]:
    """Packages that ask for another version of one that is here, or for one that isn't, among those that matter."""
    for name, distribution in sorted(installed.items()):
        if not is_gpu and name != "torch":
            continue
        wrong, wanted = [], []
        for line in distribution.requires or ():
            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                continue
            needed = canonicalize_name(requirement.name)
            # In the environment of no extra.
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
                continue
            if needed not in installed:
                if needed in _BESIDE or needed.startswith(_NVIDIA):
                    wrong.append(f"{requirement.name}{requirement.specifier} (not installed)")
                    wanted.append(f"'{requirement.name}{requirement.specifier}'")
            elif not requirement.specifier.contains(installed[needed].version, prereleases=True):
                wrong.append(f"{requirement.name}{requirement.specifier} (here {installed[needed].version})")
                wanted.append(f"'{requirement.name}{requirement.specifier}'")
        if wrong:
            text = f"{distribution.version} asks for {', '.join(wrong)}"
            yield Finding(_GROUP, name, State.WARNING, text, f"pip install {' '.join(wanted)}")
