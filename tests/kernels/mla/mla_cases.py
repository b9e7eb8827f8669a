"""Small workloads of latent attention."""

from __future__ import annotations

from typing import Any

from autotune_cli.kernels.mla.workload import MlaWorkload

SMALL = {"num_heads": 4, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128}


def workload(name: str, **latent: Any) -> MlaWorkload:
    new, context = {"decode": (1, 90), "extend": (7, 90)}[name]
    fields: dict[str, Any] = {"operation": f"attention.mla_{name}", "batch": 3, "new": new, "context": context}
    return MlaWorkload.model_validate(fields | {"mode": "eager", "latent": SMALL | latent})
