"""Raw media as a loader gives them, small and the same every time, and encoders' shapes that fit them."""

from __future__ import annotations

from typing import Any

import torch
from unlabeled.trainers.encoders.spec import TokenInputs

SMALL: dict[str, dict[str, Any]] = {
    "image": {"side_px": 32},
    "audio": {"num_mels": 32, "spectrum_frames": 32, "sample_rate_hz": 8000},
    "video": {"side_px": 32, "num_frames": 4},
    "text": {"vocab_size": 50, "num_tokens": 16},
}


def raw_media(medium: str, num: int = 2) -> Any:
    generator = torch.Generator().manual_seed(0)
    if medium == "image":
        return torch.randint(0, 256, (num, 32, 32, 3), generator=generator, dtype=torch.uint8)
    if medium == "video":
        return torch.randint(0, 256, (num, 4, 32, 32, 3), generator=generator, dtype=torch.uint8)
    if medium == "audio":
        return 0.05 * torch.randn(num, 3200, generator=generator)
    ids = torch.randint(0, 50, (num, 16), generator=generator, dtype=torch.int32)
    return TokenInputs(ids, torch.ones_like(ids), torch.zeros_like(ids))
