"""The contract of an encoder: a transformers model, how raw media become its inputs, and what its layers are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from .spec import EncoderOutput, EncoderSpec, Inputs


class Encoder(nn.Module, ABC):
    """A named transformers model without a head.

    Attributes:
        spec: what it was built from.
        model: the transformers model; `model.save_pretrained` writes what `AutoModel.from_pretrained` reads.
        layer_names: of `EncoderOutput.layers`, from the input side.
        num_prefix_tokens: tokens before the patches in a token sequence; 0 for feature maps.
        no_split_modules: class names of the blocks that FSDP2 shards and torch.compile compiles one by one.
    """

    num_prefix_tokens: ClassVar[int] = 0
    layer_names: tuple[str, ...]

    def __init__(self, spec: EncoderSpec, model: Any) -> None:
        super().__init__()
        self.spec = spec
        self.model = model

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Length of `EncoderOutput.pooled`."""

    @abstractmethod
    def num_layer_features(self, layer: str) -> int:
        """Return the channels C of one of `layer_names`."""

    @abstractmethod
    def preprocess(self, media: Any) -> Inputs:
        """Return raw media, already on the device, as the model's inputs; see the families for what they take."""

    def resize(self, pictures: Tensor) -> Tensor:
        """Return pictures float [B, 3, H, W], normalised by somebody else, as large as the model wants them."""
        return pictures

    @abstractmethod
    def forward(self, inputs: Inputs, *, with_layers: bool = True) -> EncoderOutput:
        """Return what the model makes of `inputs`; `with_layers=False` leaves `layers` empty, which is cheaper."""

    @property
    @abstractmethod
    def blocks(self) -> list[nn.Module]:
        """The repeated blocks, from the input side: what FSDP2 shards and torch.compile compiles one by one."""


class PatchEncoder(Encoder):
    """An encoder over a grid of patches that can be run on some of the patches alone (MAE)."""

    @property
    @abstractmethod
    def grid(self) -> tuple[int, ...]:
        """Patches along each axis, row-major as the tokens stand: (rows, columns), or (frames, rows, columns)."""

    @abstractmethod
    def encode_visible(self, inputs: Tensor, visible: Tensor) -> Tensor:
        """Return the last layer for the patches `visible` int64 [B, V] (indexes into the grid): [B, V, C].

        Patches that are not named are never seen, nor are their places.
        """


def take_tokens(tokens: Tensor, indexes: Tensor) -> Tensor:
    """Return tokens [B, T, C] at `indexes` int64 [B, V]: [B, V, C]."""
    return tokens.gather(1, indexes.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def hidden_states(output: Any) -> tuple[Tensor, ...]:
    """Return a transformers output's hidden states."""
    states: tuple[Tensor, ...] = output.hidden_states
    return states
