"""Residual convolutional nets (He et al., 2016, arXiv:1512.03385): for pictures, or for spectrograms as pictures.

`resnet-18` and `resnet-50` are the usual ones, for 224 px. Their stems shrink a picture four times before the first
block, so `resnet-small`, for pictures of about 32 px on a few CPU cores, sees them doubled: its maps are 1/2, 1/2, 1/4
and 1/8 as wide as the picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional
from transformers import ResNetConfig, ResNetModel

from ..preprocess import normalize_images, spectrogram
from .encoder import Encoder, hidden_states
from .spec import EncoderOutput, EncoderSpec, Inputs


def _small(num_channels: int) -> Any:
    config = ResNetConfig(
        num_channels=num_channels, embedding_size=32, hidden_sizes=[64, 128, 256], depths=[1, 2, 1], layer_type="basic"
    )
    return ResNetModel(config)


def _resnet_18(num_channels: int) -> Any:
    config = ResNetConfig(
        num_channels=num_channels, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic"
    )
    return ResNetModel(config)


def _resnet_50(num_channels: int) -> Any:
    return ResNetModel(
        ResNetConfig(num_channels=num_channels, hidden_sizes=[256, 512, 1024, 2048], depths=[3, 4, 6, 3])
    )


MODELS: Mapping[str, Callable[[int], Any]] = {
    "resnet-small": _small,
    "resnet-18": _resnet_18,
    "resnet-50": _resnet_50,
}


class ConvolutionalEncoder(Encoder):
    """A ResNet; reads pictures uint8 [B, H, W, 3] or, where `spec.medium` is audio, sound float32 [B, num_samples]."""

    def __init__(self, spec: EncoderSpec, model: Any | None = None) -> None:
        num_channels = 1 if spec.medium == "audio" else 3
        super().__init__(spec, MODELS[spec.name](num_channels) if model is None else model)
        sizes = self.model.config.hidden_sizes
        self.layer_names = ("stem", *(f"stage{number + 1}" for number in range(len(sizes))))
        self._sizes = (self.model.config.embedding_size, *sizes)

    @property
    def num_features(self) -> int:
        """Channels of the last stage."""
        return int(self._sizes[-1])

    def num_layer_features(self, layer: str) -> int:
        """Return the channels of a stage."""
        return int(self._sizes[self.layer_names.index(layer)])

    def preprocess(self, media: Tensor) -> Tensor:
        """Return pictures as float [B, 3, H, W]; sound as spectra float [B, 1, T, F]."""
        if self.spec.medium == "audio":
            spec = self.spec
            spectra = spectrogram(
                media,
                spec.sample_rate_hz,
                num_frames=spec.spectrum_frames,
                num_mels=spec.num_mels,
                window_ms=spec.window_ms,
                hop_ms=spec.hop_ms,
            )
            return spectra.unsqueeze(-3)
        return self.resize(normalize_images(media))

    def resize(self, pictures: Tensor) -> Tensor:
        """Return pictures float [B, 3, H, W] as large as the model wants them: twice, for `resnet-small`."""
        if self.spec.name != "resnet-small":
            return pictures
        return functional.interpolate(pictures, scale_factor=2, mode="bilinear")

    def forward(self, inputs: Inputs, *, with_layers: bool = True) -> EncoderOutput:
        """Return the stages' feature maps [B, C, H, W] and their mean over places [B, C]."""
        output = self.model(pixel_values=inputs, output_hidden_states=with_layers)
        layers = hidden_states(output) if with_layers else ()
        return EncoderOutput(layers, output.last_hidden_state, output.pooler_output.flatten(1))

    @property
    def blocks(self) -> list[nn.Module]:
        """The stages."""
        return list(self.model.encoder.stages)
