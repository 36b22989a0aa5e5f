"""Transformers over patches: ViT for pictures, AST for spectrograms, VideoMAE for clips.

Dosovitskiy et al., 2021 (arXiv:2010.11929); Gong et al., AST, 2021 (arXiv:2104.01778); Tong et al., VideoMAE, 2022
(arXiv:2203.12602). Sizes are ViT's: tiny 192, small 384, base 768.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import ASTConfig, ASTModel, VideoMAEConfig, VideoMAEModel, ViTConfig, ViTModel

from ...pipeline.errors import ConfigError
from ..preprocess import normalize_images, spectrogram
from .encoder import PatchEncoder, hidden_states, take_tokens
from .spec import EncoderOutput, EncoderSpec, Inputs

#: Width, heads and blocks by size; `mini` is for tests and two CPU cores.
SIZES: Mapping[str, tuple[int, int, int]] = {
    "mini": (96, 3, 4),
    "tiny": (192, 3, 12),
    "small": (384, 6, 12),
    "base": (768, 12, 12),
}


def _size(spec: EncoderSpec) -> dict[str, Any]:
    width, num_heads, num_blocks = SIZES[spec.name.rpartition("-")[2]]
    return {
        "hidden_size": width,
        "num_attention_heads": num_heads,
        "num_hidden_layers": num_blocks,
        "intermediate_size": 4 * width,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }


def _divided(name: str, whole: int, part: int) -> int:
    if whole % part:
        raise ConfigError(f"`{name}` must divide {whole}, but is {part}.")
    return whole // part


class _Transformer(PatchEncoder):
    """What the three families share: blocks of one width, tokens of patches after `num_prefix_tokens` others."""

    def __init__(self, spec: EncoderSpec, model: Any) -> None:
        super().__init__(spec, model)
        self.layer_names = ("patches", *(f"block{number + 1}" for number in range(len(self.blocks))))

    @property
    def num_features(self) -> int:
        """Width of the tokens."""
        return int(self.model.config.hidden_size)

    def num_layer_features(self, layer: str) -> int:
        """Return the width of the tokens: all layers have the same."""
        self.layer_names.index(layer)
        return self.num_features

    def forward(self, inputs: Inputs, *, with_layers: bool = True) -> EncoderOutput:
        """Return every block's tokens [B, T, C] and the mean over the patches' last ones [B, C]."""
        output = self.model(inputs, output_hidden_states=with_layers)
        layers = hidden_states(output) if with_layers else ()
        last: Tensor = output.last_hidden_state
        return EncoderOutput(layers, last, last[:, self.num_prefix_tokens :].mean(dim=1))

    def encode_visible(self, inputs: Tensor, visible: Tensor) -> Tensor:
        """Return the normalised last tokens of the patches `visible` [B, V] alone: [B, V, C]."""
        tokens = self.model.embeddings(inputs)
        prefix, patches = tokens[:, : self.num_prefix_tokens], tokens[:, self.num_prefix_tokens :]
        kept = torch.cat([prefix, take_tokens(patches, visible)], dim=1)
        for block in self.blocks:
            kept = block(kept, None)
        last: Tensor = self.model.layernorm(kept)
        return last[:, self.num_prefix_tokens :]


class ImageTransformer(_Transformer):
    """A ViT; reads pictures uint8 [B, H, W, 3]."""

    num_prefix_tokens: ClassVar[int] = 1
    NAMES: ClassVar[tuple[str, ...]] = ("vit-mini", "vit-tiny", "vit-small", "vit-base")

    def __init__(self, spec: EncoderSpec, model: Any | None = None) -> None:
        self._side = _divided("patch_px", spec.side_px, spec.patch)
        super().__init__(
            spec,
            ViTModel(ViTConfig(image_size=spec.side_px, patch_size=spec.patch, **_size(spec)))
            if model is None
            else model,
        )
        # AutoModel builds the pooler, so its weights are saved; nothing here reads it, so nothing trains it.
        self.model.pooler.requires_grad_(requires_grad=False)

    @property
    def grid(self) -> tuple[int, ...]:
        """Rows and columns of patches."""
        return (self._side, self._side)

    def preprocess(self, media: Tensor) -> Tensor:
        """Return pictures as float [B, 3, H, W]."""
        return normalize_images(media)

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks."""
        return list(self.model.layers)


class SpectrogramTransformer(_Transformer):
    """An AST; reads sound float32 [B, num_samples]. Patches do not overlap."""

    num_prefix_tokens: ClassVar[int] = 2
    NAMES: ClassVar[tuple[str, ...]] = ("ast-mini", "ast-tiny", "ast-small", "ast-base")

    def __init__(self, spec: EncoderSpec, model: Any | None = None) -> None:
        frames, mels = spec.spectrum_patch
        if frames != mels:
            raise ConfigError(f"`spectrum_patch` must be square for {spec.name}, but is {frames} x {mels}.")
        self._shape = (
            _divided("spectrum_patch", spec.spectrum_frames, frames),
            _divided("spectrum_patch", spec.num_mels, mels),
        )
        super().__init__(spec, ASTModel(_spectrogram_config(spec)) if model is None else model)

    @property
    def grid(self) -> tuple[int, ...]:
        """Patches in frequency and in time: the model takes frequency as rows."""
        return (self._shape[1], self._shape[0])

    def preprocess(self, media: Tensor) -> Tensor:
        """Return sound as normalised log-mel spectra float [B, spectrum_frames, num_mels]."""
        spec = self.spec
        return spectrogram(
            media,
            spec.sample_rate_hz,
            num_frames=spec.spectrum_frames,
            num_mels=spec.num_mels,
            window_ms=spec.window_ms,
            hop_ms=spec.hop_ms,
        )

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks."""
        return list(self.model.layers)


def _spectrogram_config(spec: EncoderSpec) -> Any:
    patch = spec.spectrum_patch[0]
    return ASTConfig(
        patch_size=patch,
        frequency_stride=patch,
        time_stride=patch,
        max_length=spec.spectrum_frames,
        num_mel_bins=spec.num_mels,
        **_size(spec),
    )


class VideoTransformer(_Transformer):
    """A VideoMAE encoder; reads clips uint8 [B, N, H, W, 3]."""

    NAMES: ClassVar[tuple[str, ...]] = ("videomae-mini", "videomae-tiny", "videomae-small", "videomae-base")

    def __init__(self, spec: EncoderSpec, model: Any | None = None) -> None:
        side = _divided("patch_px", spec.side_px, spec.patch)
        self._shape = (_divided("tubelet_frames", spec.num_frames, spec.tubelet_frames), side, side)
        super().__init__(spec, VideoMAEModel(_video_config(spec)) if model is None else model)

    @property
    def grid(self) -> tuple[int, ...]:
        """Tubelets in time, rows and columns."""
        return self._shape

    def preprocess(self, media: Tensor) -> Tensor:
        """Return clips as float [B, N, 3, H, W]."""
        return normalize_images(media)

    def encode_visible(self, inputs: Tensor, visible: Tensor) -> Tensor:
        """Return the normalised last tokens of the tubelets `visible` [B, V] alone: [B, V, C]."""
        embeddings = self.model.embeddings
        tokens = embeddings.patch_embeddings(inputs)
        kept = take_tokens(tokens + embeddings.position_embeddings.to(tokens), visible)
        for block in self.blocks:
            kept = block(kept)
        last: Tensor = self.model.layernorm(kept)
        return last

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks."""
        return list(self.model.encoder.layer)


def _video_config(spec: EncoderSpec) -> Any:
    return VideoMAEConfig(
        image_size=spec.side_px,
        patch_size=spec.patch,
        num_frames=spec.num_frames,
        tubelet_size=spec.tubelet_frames,
        use_mean_pooling=False,
        **_size(spec),
    )
