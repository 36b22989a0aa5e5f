"""A BERT encoder for token ids (Devlin et al., 2019, arXiv:1810.04805), sized as the small published ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from ...pipeline.errors import ConfigError
from .encoder import Encoder, hidden_states
from .spec import EncoderOutput, EncoderSpec, Inputs, TokenInputs

#: Width, heads and blocks by name; mini to base are those of Turc et al., 2019 (arXiv:1908.08962).
SIZES: Mapping[str, tuple[int, int, int]] = {
    "bert-tiny": (128, 2, 2),
    "bert-mini": (256, 4, 4),
    "bert-small": (512, 8, 4),
    "bert-base": (768, 12, 12),
}


#: In plain ids, whatever the tokenizer's own padding is: what stands there is masked.
PADDING = -1


class TextEncoder(Encoder):
    """A BERT; reads `TokenInputs` of any integer type, or plain ids [B, T] of one segment, padded with `PADDING`."""

    NAMES: ClassVar[tuple[str, ...]] = tuple(SIZES)
    num_prefix_tokens: ClassVar[int] = 1

    def __init__(self, spec: EncoderSpec, model: Any | None = None) -> None:
        if model is None and not spec.vocab_size:
            raise ConfigError("`vocab_size` must be the number of tokens of the tokenizer, but is 0.")
        super().__init__(spec, BertModel(_config(spec)) if model is None else model)
        # As ViT's: saved for AutoModel, read by nothing here.
        self.model.pooler.requires_grad_(requires_grad=False)
        self.layer_names = ("embeddings", *(f"block{number + 1}" for number in range(len(self.blocks))))

    @property
    def num_features(self) -> int:
        """Width of the tokens."""
        return int(self.model.config.hidden_size)

    def num_layer_features(self, layer: str) -> int:
        """Return the width of the tokens: all layers have the same."""
        self.layer_names.index(layer)
        return self.num_features

    def preprocess(self, media: TokenInputs | Tensor) -> TokenInputs:
        """Return the ids and masks as int64."""
        if isinstance(media, Tensor):
            ids = media.long()
            return TokenInputs(ids.clamp_min(0), (ids != PADDING).long(), torch.zeros_like(ids))
        return TokenInputs(*(part.long() for part in media))

    def forward(self, inputs: Inputs, *, with_layers: bool = True) -> EncoderOutput:
        """Return every block's tokens [B, T, C] and the mean over the last ones of real tokens [B, C]."""
        if not isinstance(inputs, TokenInputs):
            raise TypeError(f"text comes as TokenInputs, not as {type(inputs).__name__}.")
        output = self.model(
            input_ids=inputs.input_ids,
            attention_mask=inputs.attention_mask,
            token_type_ids=inputs.token_type_ids,
            output_hidden_states=with_layers,
        )
        last: Tensor = output.last_hidden_state
        layers = hidden_states(output) if with_layers else ()
        return EncoderOutput(layers, last, _mean_of_real(last, inputs.attention_mask))

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks."""
        return list(self.model.encoder.layer)


def _mean_of_real(tokens: Tensor, attention_mask: Tensor) -> Tensor:
    weights = attention_mask.unsqueeze(-1).to(tokens.dtype)
    return torch.sum(tokens * weights, dim=1) / weights.sum(dim=1).clamp_min(1)


def _config(spec: EncoderSpec) -> Any:
    width, num_heads, num_blocks = SIZES[spec.name]
    return BertConfig(
        vocab_size=spec.vocab_size,
        hidden_size=width,
        num_attention_heads=num_heads,
        num_hidden_layers=num_blocks,
        intermediate_size=4 * width,
        max_position_embeddings=spec.num_tokens,
    )
