"""Which encoder fits a dataset: medium and shape of its inputs, read off its columns, its settings and some rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...pipeline.config import parse
from ...pipeline.errors import ConfigError
from ...pipeline.features import Features
from ...pipeline.manifest import Manifest
from ...pipeline.sound import num_frames
from ...pipeline.tokenizer import ASSET, Tokenizer
from ..encoders.build import encoder_names, media_of
from ..encoders.spec import EncoderSpec, Medium
from .views import TOKEN_COLUMNS, Views

#: From so many stills on a list of them is a clip, which a video transformer sees as a whole.
_CLIP_FRAMES = 8


@dataclass(frozen=True)
class Material:
    """What is known of a dataset before training.

    rows: media of some decoded examples; assets: its frozen files by name; numbers: labels of float type, of more.
    """

    manifest: Manifest
    rows: Mapping[str, Any]
    assets: Mapping[str, bytes]
    numbers: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def features(self) -> Features:
        """All columns."""
        return self.manifest.seen_features()

    @property
    def task_settings(self) -> Mapping[str, Any]:
        """The pretext task's settings."""
        return self.manifest.recipe.task.settings

    def inputs(self, kind: str) -> tuple[str, ...]:
        """Return the input columns of one kind: image or audio."""
        return tuple(name for name in self.features.with_role("input") if self.features[name].kind == kind)


def medium_of(data: Material) -> Medium:
    """Return what the main encoder reads: text, else pictures (or clips), else sound.

    Raises:
        ConfigError: no input column is any of these.
    """
    if TOKEN_COLUMNS[0] in data.features:
        return "text"
    for column in data.inputs("image"):
        shape = data.features[column].shape
        return "video" if shape and (shape[-1] or 0) >= _CLIP_FRAMES else "image"
    if data.inputs("audio"):
        return "audio"
    raise ConfigError(
        f"{data.manifest.task}: no input column is a picture, a sound or input_ids; it has "
        f"{', '.join(data.features.with_role('input'))}."
    )


def default_name(data: Material, medium: Medium) -> str:
    """Return the encoder that is built where none is named: small ones, that train on a few CPU cores."""
    is_masked = data.manifest.objective == "masked_prediction"
    if medium == "image":
        transformer = is_masked and "mask_bits" in data.features
        return "vit-tiny" if transformer else "resnet-small" if _side_px(data) <= 64 else "resnet-18"
    if medium == "audio":
        return "ast-tiny" if is_masked else "resnet-small"
    return "videomae-tiny" if medium == "video" else "bert-mini"


def encoder_spec(data: Material, medium: Medium, chosen: Mapping[str, Any]) -> EncoderSpec:
    """Return the encoder that `chosen` (name and fields, all optional) asks for, in the shape of the inputs.

    Raises:
        ConfigError: unknown name or field, or one that does not read what the dataset holds.
    """
    name = chosen.get("name", default_name(data, medium))
    if medium == "video" and "video" not in media_of(name) and "image" in media_of(name):
        medium = "image"  # frame by frame
    if medium == "image" and media_of(name) == ("video",):
        medium = "video"
    if medium not in media_of(name):
        raise ConfigError(
            f"`encoder.name`: {name!r} does not read {medium}; expected one of {', '.join(encoder_names(medium))}."
        )
    shape = {"image": _picture_shape, "video": _clip_shape, "audio": _sound_shape, "text": _text_shape}[medium](data)
    spec: EncoderSpec = parse(EncoderSpec, {**shape, **chosen, "name": name, "medium": medium}, "encoder")
    return spec


def views_of(data: Material, spec: EncoderSpec) -> Views:
    """Return how the dataset's inputs are seen by an encoder."""
    if spec.medium == "text":
        return Views(tuple(name for name in TOKEN_COLUMNS if name in data.features), 1)
    columns = data.inputs("audio" if spec.medium == "audio" else "image")
    num_own = {"image": 0, "video": 1, "audio": 0}[spec.medium]
    num_views = 0
    for column in columns:
        lists = data.rows[column].shape[1 : 1 + len(data.features[column].shape)]
        num_views += int(np.prod(lists[: len(lists) - num_own], dtype=np.int64))
    are_patches = data.manifest.modality == "image" and num_views > 1
    return Views(columns, num_views, standardized=are_patches)


def tokenizer_of(data: Material) -> Tokenizer:
    """Return the tokenizer that the dataset froze.

    Raises:
        ConfigError: the dataset has none.
    """
    if ASSET not in data.assets:
        raise ConfigError(f"{data.manifest.task}: the dataset has no asset {ASSET}, which names its tokens.")
    return Tokenizer(data.assets[ASSET])


def _side_px(data: Material) -> int:
    return int(data.rows[data.inputs("image")[0]].shape[-2])


def _picture_shape(data: Material) -> dict[str, Any]:
    shape: dict[str, Any] = {"side_px": _side_px(data)}
    if "patch_px" in data.features:
        shape["patch_px"] = int(data.task_settings["patch_px"])
    return shape


def _clip_shape(data: Material) -> dict[str, Any]:
    frames = int(data.rows[data.inputs("image")[0]].shape[-4])
    shape: dict[str, Any] = {"side_px": _side_px(data), "num_frames": frames, "tubelet_frames": 2 - frames % 2}
    if "tubelet" in data.features:
        shape["tubelet_frames"] = int(data.task_settings["tubelet_frames"])
        shape["patch_px"] = int(data.task_settings["patch_px"])
    return shape


def _sound_shape(data: Material) -> dict[str, Any]:
    column = data.inputs("audio")[0]
    settings = data.task_settings
    shape: dict[str, Any] = {"sample_rate_hz": data.features[column].sample_rate_hz, "num_mels": 64}
    if "num_frames_valid" in data.features:
        names = {"num_mels": "n_mels", "window_ms": "win_ms", "hop_ms": "hop_ms", "spectrum_frames": "frames"}
        shape |= {ours: int(settings[theirs]) for ours, theirs in names.items()}
        shape["spectrum_patch"] = (int(settings["patch_t"]), int(settings["patch_f"]))
        return shape
    rate_hz = shape["sample_rate_hz"]
    frames = num_frames(data.rows[column].shape[-1], rate_hz * 25 // 1000, rate_hz * 10 // 1000)
    return shape | {"spectrum_frames": max(16, 16 * -(-frames // 16))}


def _text_shape(data: Material) -> dict[str, Any]:
    tokenizer = tokenizer_of(data)
    return {
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_sha256": tokenizer.sha256,
        "num_tokens": int(data.rows[TOKEN_COLUMNS[0]].shape[-1]),
    }
