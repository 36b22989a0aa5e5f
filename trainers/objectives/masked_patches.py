"""Masked autoencoders: a transformer sees the visible patches alone, a small decoder fills in the others.

He et al.: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022 (arXiv:2111.06377); for clips Tong et al.:
VideoMAE, NeurIPS 2022 (arXiv:2203.12602); for sound Huang et al.: Audio-MAE, NeurIPS 2022 (arXiv:2207.06405).
Targets are patches with mean 0 and deviation 1 each; the loss is the mean square over the hidden ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..data import Batch
from ..encoders.encoder import PatchEncoder
from .base import Outcome, PretextObjective, Score
from .masks import Masks, visible_places


class MaskedPatches(PretextObjective):
    """MAE over the one media column `column`; `masks` has the encoder's grid, time before frequency for sound."""

    def __init__(self, encoder: PatchEncoder, column: str, masks: Masks, width: int, num_blocks: int) -> None:
        super().__init__(encoder)
        self._patches, self._column, self._masks = encoder, column, masks
        self.columns = (column, *masks.columns)
        num_patches = math.prod(encoder.grid)
        self.narrow = nn.Linear(encoder.num_features, width)
        self.blank = nn.Parameter(0.02 * torch.randn(width))
        self.places = nn.Parameter(0.02 * torch.randn(num_patches, width))
        self.blocks = nn.ModuleList([_block(width) for _ in range(num_blocks)])
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, _patch_size(encoder))

    def arrange(self, batch: Batch) -> dict[str, Any]:
        """Return the media, which patches are hidden, and the places of those that are seen."""
        drawn = self._masks.draw(batch)
        hidden, real = drawn.hidden, drawn.real
        if self._patches.spec.medium == "audio":  # the model's rows are frequencies
            hidden, real = hidden.swapaxes(1, 2), real.swapaxes(1, 2)
        seeds = batch.columns["mask_seed"].tolist()
        visible = visible_places(type(drawn)(hidden, real), seeds, batch.epoch)
        media = batch.columns[self._column]
        return {self._column: media, "hidden": hidden.reshape(len(hidden), -1), "visible": visible}

    def forward(self, tensors: Mapping[str, Tensor]) -> Outcome:
        """Return the mean square over hidden patches; `skill` is what that gains over predicting 0."""
        inputs = self._patches.preprocess(tensors[self._column])
        if not isinstance(inputs, Tensor):
            raise TypeError("patches are cut from tensors")
        tokens = self.narrow(self._patches.encode_visible(inputs, tensors["visible"]))
        whole = self.blank.to(tokens.dtype).expand(len(tokens), len(self.places), -1)
        index = tensors["visible"].unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        decoded = whole.scatter(1, index, tokens) + self.places
        for block in self.blocks:
            decoded = block(decoded)
        predicted = self.predict(self.norm(decoded)).float()
        target = normalized(cut_patches(inputs, self._patches).float())
        hidden = tensors["hidden"].float()
        errors = (predicted - target).square().mean(dim=-1) * hidden
        baseline = target.square().mean(dim=-1) * hidden
        loss = errors.sum() / hidden.sum().clamp_min(1)
        return Outcome(loss, {"skill": Score((baseline - errors).sum(), baseline.sum())})


def cut_patches(inputs: Tensor, encoder: PatchEncoder) -> Tensor:
    """Return an encoder's inputs as patches in the order of its tokens, [B, num_patches, values of a patch]."""
    grid = encoder.grid
    if encoder.spec.medium == "audio":  # [B, time, frequency], with frequencies as rows
        inputs = inputs.transpose(1, 2).unsqueeze(1)
    if inputs.ndim == 5:  # [B, N, 3, H, W]
        batch, frames, channels, height, width = inputs.shape
        tubes, rows, columns = grid
        cut = inputs.reshape(batch, tubes, frames // tubes, channels, rows, height // rows, columns, width // columns)
        return cut.permute(0, 1, 4, 6, 2, 5, 7, 3).flatten(4).flatten(1, 3)
    batch, channels, height, width = inputs.shape
    rows, columns = grid
    cut = inputs.reshape(batch, channels, rows, height // rows, columns, width // columns)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def normalized(patches: Tensor) -> Tensor:
    """Return patches [..., D] with mean 0 and deviation 1 each."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


def _block(width: int) -> nn.Module:
    return nn.TransformerEncoderLayer(
        width, max(1, width // 32), 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )


def _patch_size(encoder: PatchEncoder) -> int:
    spec = encoder.spec
    if spec.medium == "audio":
        return math.prod(spec.spectrum_patch)
    return 3 * spec.patch**2 * (spec.tubelet_frames if spec.medium == "video" else 1)
