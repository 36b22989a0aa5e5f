"""What an encoder's layers say of media, pooled: the inputs of probes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .config import ComputeSettings
from .encoders.build import from_spec
from .encoders.encoder import Encoder
from .encoders.spec import TokenInputs
from .finetune import compute_of
from .labelled import Labelled
from .probes import pool

_BATCH = 250
#: Of examples that a control's batch norms see.
_NUM_CALIBRATION = 2000


class Place(NamedTuple):
    """Where features are taken: a layer's name, and the side of the grid that it is pooled to."""

    layer: str
    side: int

    def __str__(self) -> str:
        return f"{self.layer}, mean" if self.side == 1 else f"{self.layer}, {self.side}x{self.side}"


def all_places(encoder: Encoder, sides: Sequence[int]) -> tuple[Place, ...]:
    """Return the places of all layers but the first; where layers are sequences of tokens, with side 1 alone."""
    names = encoder.layer_names[1:]
    has_maps = encoder.num_prefix_tokens == 0 and hasattr(encoder, "num_layer_features") and _is_map(encoder)
    return tuple(Place(name, side) for name in names for side in (sides if has_maps else (1,)))


def _is_map(encoder: Encoder) -> bool:
    from .encoders.convolutional import ConvolutionalEncoder

    return isinstance(encoder, ConvolutionalEncoder)


@torch.no_grad()
def features_at(
    encoder: Encoder, labelled: Labelled, places: Sequence[Place], settings: ComputeSettings
) -> dict[Place, Tensor]:
    """Return float32 [N, D] for each place, on the CPU; `encoder` is left in evaluation mode."""
    compute = compute_of(encoder, settings)
    compute.place(encoder).eval()
    found: dict[Place, list[Tensor]] = {place: [] for place in places}
    for start in range(0, len(labelled), _BATCH):
        media = torch.from_numpy(labelled.media[start : start + _BATCH]).to(compute.device)
        with compute.autocast():
            inputs = encoder.preprocess(media)
            layers = dict(zip(encoder.layer_names, encoder(inputs).layers, strict=True))
        mask = inputs.attention_mask if isinstance(inputs, TokenInputs) else None
        for place, parts in found.items():
            pooled = pool(layers[place.layer], place.side, num_prefix_tokens=encoder.num_prefix_tokens, mask=mask)
            parts.append(pooled.cpu())
    return {place: torch.cat(parts) for place, parts in found.items()}


@torch.no_grad()
def random_control(encoder: Encoder, labelled: Labelled, seed: int, settings: ComputeSettings) -> Encoder:
    """Return a new encoder like `encoder` with random weights, whose batch norms have seen media, but no label.

    Without that its layers would hardly be centred, which would make the control weaker than it has to be.
    """
    control = from_spec(encoder.spec, seed)
    norms = [module for module in control.modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        return control.eval()
    for norm in norms:
        # None: a plain mean over all batches.
        norm.momentum = None
    compute = compute_of(control, settings)
    compute.place(control).train()
    for start in range(0, min(len(labelled), _NUM_CALIBRATION), _BATCH):
        media = torch.from_numpy(labelled.media[start : start + _BATCH]).to(compute.device)
        with compute.autocast():
            control(control.preprocess(media), with_layers=False)
    return control.eval()
