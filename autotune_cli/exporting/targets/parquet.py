"""The plan's workloads for a data frame: the columns of ``csv``, typed."""

from __future__ import annotations

import io

from autotune_cli.exporting.target import Exported, Material, Target
from autotune_cli.render.plan_formats import RECORD_COLUMNS, record


def _make(material: Material) -> Exported:
    import pandas as pd

    frame = pd.DataFrame([record(row) for row in material.plan.rows], columns=list(RECORD_COLUMNS))
    stream = io.BytesIO()
    frame.to_parquet(stream, engine="pyarrow", index=False)
    return Exported({"plan.parquet": stream.getvalue()})


ABOUT = Target(
    "the plan's workloads for a data frame",
    _make,
    extension=".parquet",
    binary=True,
    needs=("pandas", "pyarrow"),
    fix="pip install 'kernel-autotune[pandas]'",
    name="parquet",
)
