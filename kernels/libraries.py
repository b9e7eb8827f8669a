"""The libraries whose kernels are tuned, a line each. Imports none of them.

What depends on them is taken from here: the versions and variables in a result's identity, what counts as an installed
package in a user's kernel file, and who may import them (``.importlinter``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Library:
    """A kernel library, or what compiles its kernels."""

    name: str
    """In results; it begins with the module that is imported."""
    distributions: tuple[str, ...]
    """Names of its package; the first that is installed counts."""
    variables: tuple[str, ...] = ()
    """What environment variables that change its kernels begin with."""
    always: bool = False
    """Is it recorded where it isn't installed, too? Any other is left out then, and older results, which lack it, stay
    comparable."""
    module: str = ""
    """Imported as; empty: the first word of the name."""

    @property
    def imported(self) -> str:
        """The top-level module."""
        return self.module or self.name.partition(".")[0]


LIBRARIES = (
    Library("torch", ("torch",), ("TORCH_", "CUBLAS_", "CUDNN_"), always=True),
    Library("triton", ("triton",), ("TRITON_",), always=True),
    Library("flashinfer", ("flashinfer-python",), ("FLASHINFER_",), always=True),
    Library("sgl_kernel", ("sglang-kernel", "sgl-kernel"), ("SGLANG_",), always=True),
    # CuTe DSL and its helpers compile flash-attn-4's kernels.
    Library("flash_attn.cute", ("flash-attn-4",), ("FLASH_ATTENTION_",)),
    Library("cutlass_dsl", ("nvidia-cutlass-dsl",), ("CUTE_DSL_",), module="cutlass"),
    Library("quack", ("quack-kernels",)),
    # Of their kernels only selections are candidates; what begins with SGLANG_ is sgl_kernel's above.
    Library("sglang", ("sglang",)),
    Library("vllm", ("vllm",), ("VLLM_",)),
    Library("deep_select", ("tokenspeed-deepselect", "deep-select")),
    Library("wave_lang", ("wave-lang",), ("WAVE_",)),
)


def imported_libraries() -> tuple[str, ...]:
    """Top-level modules of the libraries beside torch, which is everywhere where tensors are."""
    return tuple(library.imported for library in LIBRARIES if library.imported != "torch")
