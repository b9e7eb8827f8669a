"""The plotting library's script, to be embedded: Vega, Vega-Lite and Vega-Embed as vl-convert-python bundles them.

The bundle is made offline. It draws SVG, whose marks have names for a screen reader and whose colours are the page's.
"""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from functools import cache

from autotune_cli.errors import MissingPackage

FIX = "pip install 'kernel-autotune[report]'"
# By the name it is imported under.
_PACKAGES = {"jinja2": "jinja2", "vl_convert": "vl-convert-python"}


def check_packages() -> None:
    """Are the packages there that the extra ``report`` brings? They are looked for, and not imported.

    Raises:
        MissingPackage: no.
    """
    for module, package in _PACKAGES.items():
        found = None
        with suppress(ImportError, ValueError):  # a hook that forbids it; a module put in its place
            found = importlib.util.find_spec(module)
        if found is None:
            raise MissingPackage(what="a report", package=package, fix=FIX)


@cache
def plotting_script() -> str:
    """JavaScript that sets ``window.vegaEmbed``, for a ``<script>`` element. Takes about a second.

    Raises:
        ValueError: the script would end the element it stands in.
    """
    import vl_convert

    # Without the names of Vega and Vega-Lite, which the page doesn't need.
    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    if "</script" in script.lower() or "<!--" in script:
        raise ValueError("the bundle holds the end of a script element")
    return script
