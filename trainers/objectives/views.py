"""How the inputs of an example become views: the pictures, clips or sounds that one encoder sees one by one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..encoders.encoder import Encoder
from ..encoders.spec import EncoderOutput, TokenInputs
from ..preprocess import standardize_images

TOKEN_COLUMNS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True)
class Views:
    """Which columns an encoder sees.

    columns: of media, or the three of text. num_views: of an example, over all columns.
    standardized: pictures are normalised one by one: patches that are compared with each other.
    """

    columns: tuple[str, ...]
    num_views: int
    standardized: bool = False

    def encode(self, encoder: Encoder, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the pooled features of every view, [B, num_views, C]."""
        pooled = self.output(encoder, tensors).pooled
        return pooled.view(-1, self.num_views, pooled.shape[-1])

    def output(self, encoder: Encoder, tensors: Mapping[str, Tensor]) -> EncoderOutput:
        """Return what the encoder makes of all views, [B * num_views, ...], an example's views side by side."""
        if encoder.spec.medium == "text":
            inputs = encoder.preprocess(TokenInputs(*(tensors[name] for name in self.columns)))
            return run(encoder, inputs)
        media = torch.cat([as_views(tensors[name], encoder.spec.medium) for name in self.columns], dim=1).flatten(0, 1)
        inputs = encoder.resize(standardize_images(media)) if self.standardized else encoder.preprocess(media)
        return run(encoder, inputs)


def run(encoder: Encoder, inputs: Tensor | TokenInputs) -> EncoderOutput:
    """Return the encoder's output without the layers in between."""
    output: EncoderOutput = encoder(inputs, with_layers=False)
    return output


def as_views(media: Tensor, medium: str) -> Tensor:
    """Return media [B, ...] as [B, V, ...] of what an encoder takes at a time.

    Pictures [..., H, W, 3], clips [..., N, H, W, 3], sounds [..., num_samples].
    """
    num_own = {"image": 3, "video": 4, "audio": 1}[medium]
    if media.ndim == num_own + 1:
        return media.unsqueeze(1)
    return media.flatten(1, media.ndim - num_own - 1)
