"""bfloat16 where the processor multiplies it faster than float32, float32 elsewhere."""

from contextlib import AbstractContextManager

import torch


def is_fast_in_bfloat16(device: torch.device) -> bool:
    """GPUs that have the type (NVIDIA's from Ampere on); processors with AVX512-BF16 or AMX.

    Without such instructions torch emulates the type, which is slower than float32 by far.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def reduced_precision(
    device: torch.device, precision: str = "fast"
) -> AbstractContextManager[object]:
    """Matrix products of a training step in bfloat16 where that is fast; weights, sums, norms and the
    router stay in float32. With `precision` "float32" the products do too."""
    reduced = precision == "fast" and is_fast_in_bfloat16(device)
    return torch.autocast(device.type, torch.bfloat16, enabled=reduced)
