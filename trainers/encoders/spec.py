"""What an encoder is built from and what it gives: plain values, so that a saved encoder says how to feed it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

Medium = Literal["image", "audio", "video", "text"]


class EncoderSpec(BaseModel):
    """A family and size by name, and the shape of its inputs; what an encoder does not read is ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="one of encoder_names()")
    medium: Medium = Field(description="what it reads; a convolutional net reads images or spectrograms")
    side_px: int = Field(224, ge=8, description="side of the square pictures or frames, px")
    patch_px: int = Field(0, ge=0, description="side of a transformer's patches, px; 0: 16, or 4 below 64 px")
    num_frames: int = Field(16, ge=1, description="frames of a clip")
    tubelet_frames: int = Field(2, ge=1, description="frames that one token covers")
    sample_rate_hz: int = Field(16_000, ge=1000, description="rate of the sound")
    num_mels: int = Field(128, ge=8, description="mel bins of a spectrogram")
    window_ms: int = Field(25, ge=1, description="window of a spectrogram's frame, ms")
    hop_ms: int = Field(10, ge=1, description="time between a spectrogram's frames, ms")
    spectrum_frames: int = Field(96, ge=1, description="frames of a spectrogram; shorter ones are padded, longer cut")
    spectrum_patch: tuple[int, int] = Field((16, 16), description="frames and mel bins of a transformer's patch")
    vocab_size: int = Field(0, ge=0, description="tokens of the tokenizer; text only")
    tokenizer_sha256: str = Field("", description="of the tokenizer.json whose tokens it knows; text only")
    num_tokens: int = Field(512, ge=4, description="longest sequence of tokens")

    @property
    def patch(self) -> int:
        """Side of a transformer's patches in px: `patch_px`, else 16, or 4 for pictures below 64 px."""
        return self.patch_px or (16 if self.side_px >= 64 else 4)


class TokenInputs(NamedTuple):
    """Text as an encoder takes it, each int64 [B, T]: ids; 1 for tokens and 0 for padding; segment of each token."""

    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor


#: What `preprocess` gives and `forward` takes: pictures float [B, 3, H, W]; spectrograms float [B, 1, T, F] for
#: convolutional nets, [B, T, F] for transformers; clips float [B, N, 3, H, W]; text as `TokenInputs`.
Inputs = Tensor | TokenInputs


@dataclass(frozen=True, slots=True)
class EncoderOutput:
    """What an encoder makes of a batch of B.

    layers: one for each of `layer_names`: feature maps [B, C, H, W] or token sequences [B, T, C]; where the first
        tokens are no patches (class tokens), `num_prefix_tokens` of the encoder says how many. Empty unless asked for.
    last: the last layer, normalised where the model ends in a norm; same layout as a layer.
    pooled: one vector each, [B, C]: the mean over places, patches or real tokens of `last`.
    """

    layers: tuple[Tensor, ...]
    last: Tensor
    pooled: Tensor
