"""Encoders by name: build with weights drawn from a seed, save, load. Nothing is ever downloaded.

encoder = build_encoder("resnet-small", side_px=32, seed=0)
inputs = encoder.preprocess(pixels)       # uint8 [B, H, W, 3], on any device
encoder(inputs).pooled                    # [B, num_features]
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel
from transformers.utils.logging import disable_progress_bar

from ...pipeline.config import parse
from ...pipeline.errors import ConfigError, CorruptData, nearest
from .convolutional import MODELS, ConvolutionalEncoder
from .encoder import Encoder
from .patches import ImageTransformer, SpectrogramTransformer, VideoTransformer
from .spec import EncoderSpec, Medium
from .text import TextEncoder

#: Beside the transformers files: what raw media the model is fed by, and how.
SPEC_FILE = "unlabeled_encoder.json"

_Class = type[ConvolutionalEncoder | ImageTransformer | SpectrogramTransformer | VideoTransformer | TextEncoder]
_CLASSES: Mapping[str, tuple[_Class, tuple[Medium, ...]]] = {
    **dict.fromkeys(MODELS, (ConvolutionalEncoder, ("image", "audio"))),
    **dict.fromkeys(ImageTransformer.NAMES, (ImageTransformer, ("image",))),
    **dict.fromkeys(SpectrogramTransformer.NAMES, (SpectrogramTransformer, ("audio",))),
    **dict.fromkeys(VideoTransformer.NAMES, (VideoTransformer, ("video",))),
    **dict.fromkeys(TextEncoder.NAMES, (TextEncoder, ("text",))),
}


def encoder_names(medium: Medium | None = None) -> tuple[str, ...]:
    """Return the names of all encoders, or of those that read `medium`."""
    return tuple(name for name, (_, media) in _CLASSES.items() if medium is None or medium in media)


def media_of(name: str) -> tuple[Medium, ...]:
    """Return the media that the named encoder can be built for, the usual one first.

    Raises:
        ConfigError: unknown name, with the nearest.
    """
    if name not in _CLASSES:
        raise ConfigError(
            f"`encoder`: found {name!r}, expected one of {', '.join(_CLASSES)}.{nearest(name, _CLASSES)}"
        )
    return _CLASSES[name][1]


def build_encoder(name: str, *, seed: int, **shape: Any) -> Encoder:
    """Return the named encoder with weights drawn from `seed`, in training mode on the CPU.

    Args:
        name: one of `encoder_names()`.
        seed: the same seed gives the same weights; global generators are left as they were.
        shape: fields of `EncoderSpec`: medium, side_px, num_frames, sample_rate_hz, vocab_size, ...

    Raises:
        ConfigError: unknown name or field (with the nearest), or a shape that the encoder cannot have.
    """
    shape.setdefault("medium", media_of(name)[0])
    return from_spec(parse(EncoderSpec, {"name": name, **shape}, "encoder"), seed)


def from_spec(spec: EncoderSpec, seed: int) -> Encoder:
    """Return a new encoder like another one: `from_spec(other.spec, seed)`.

    Raises:
        ConfigError: as `build_encoder`.
    """
    if spec.medium not in media_of(spec.name):
        expected = ", ".join(encoder_names(spec.medium))
        raise ConfigError(f"`encoder`: {spec.name!r} does not read {spec.medium}; expected one of {expected}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _CLASSES[spec.name][0](spec)


def save_encoder(encoder: Encoder, directory: str | Path) -> None:
    """Write a folder that `load_encoder` and `transformers.AutoModel.from_pretrained` read: JSON and safetensors."""
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    disable_progress_bar()  # type: ignore[no-untyped-call]
    encoder.model.save_pretrained(folder)
    (folder / SPEC_FILE).write_text(encoder.spec.model_dump_json(indent=2) + "\n", encoding="utf-8")


def load_encoder(directory: str | Path) -> Encoder:
    """Return the encoder that `save_encoder` wrote, in evaluation mode on the CPU.

    Raises:
        ConfigError: no encoder stands there.
        CorruptData: the description is damaged or of an encoder that is not known.
    """
    path = Path(directory) / SPEC_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{directory}: no encoder stands here ({SPEC_FILE} is missing).") from None
    try:
        spec = EncoderSpec.model_validate_json(text)
    except ValueError as error:
        raise CorruptData(f"{path}: not the description of an encoder: {error}") from error
    # Local files only: a path that is no folder would be taken for a name on a hub.
    model = AutoModel.from_pretrained(path.parent, local_files_only=True, use_safetensors=True)
    loaded: Encoder = _CLASSES[spec.name][0](spec, model)
    return loaded.eval()
