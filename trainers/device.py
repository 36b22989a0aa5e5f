"""What a run computes on, in which precision and memory layout: decided by the device, and reported."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..pipeline.errors import ConfigError
from .config import ComputeSettings


@dataclass(frozen=True)
class Compute:
    """Where and how. reason: why so, for the report."""

    device: torch.device
    dtype: torch.dtype
    channels_last: bool
    reason: str

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which losses are computed."""
        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def place(self, module: nn.Module) -> nn.Module:
        """Return the module on the device, in the layout."""
        if self.channels_last:
            # Only weights of 2-d convolutions have this layout; the rest stays.
            return module.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
        return module.to(device=self.device)

    def describe(self) -> Mapping[str, str]:
        """Return what was decided, for a report."""
        return {
            "device": str(self.device),
            "precision": str(self.dtype).removeprefix("torch."),
            "channels_last": "yes" if self.channels_last else "no",
            "reason": self.reason,
        }


def decide(settings: ComputeSettings, *, is_convolutional: bool, local_rank: int = 0) -> Compute:
    """Return where and how to compute.

    `auto`: a GPU where there is one; bfloat16 where the device has instructions for it; channels_last for
    convolutional nets in bfloat16 or on a GPU, where it was faster on every device that was measured.

    Raises:
        ConfigError: a GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if settings.device == "cuda" and not has_gpu:
        raise ConfigError("`compute.device` is cuda, but torch sees no GPU here.")
    on_gpu = settings.device == "cuda" or (settings.device == "auto" and has_gpu)
    device = torch.device("cuda", local_rank) if on_gpu else torch.device("cpu")
    supported, reason = (torch.cuda.is_bf16_supported(), "the GPU") if on_gpu else _cpu_has_bfloat16()
    wanted = settings.precision == "bfloat16" or (settings.precision == "auto" and supported)
    dtype = torch.bfloat16 if wanted else torch.float32
    channels_last = settings.channels_last == "yes" or (
        settings.channels_last == "auto" and is_convolutional and (on_gpu or wanted)
    )
    how = "has" if supported else "has no"
    return Compute(device, dtype, channels_last, f"{reason} {how} bfloat16 instructions")


def _cpu_has_bfloat16() -> tuple[bool, str]:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False, "a CPU that says nothing of itself"
    return any(name in flags for name in ("avx512_bf16", "amx_bf16", " bf16")), "the CPU"
