"""The one thing that pyproject.toml can't say: which packages there are.

kernels/ is imported, and installed, as autotune_cli.kernels. In a checkout the link autotune_cli/kernels would lead a
search there, but an sdist holds no links: a wheel made from it would lack every kernel.
"""

from __future__ import annotations

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["autotune_cli*"], exclude=["autotune_cli.kernels*"]),
        "autotune_cli.kernels",
        *(f"autotune_cli.kernels.{name}" for name in find_packages("kernels")),
    ]
)
