"""From a dataset's manifest to its objective: head and loss follow from columns and settings, never from task code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...pipeline.errors import ConfigError
from ...pipeline.tokenizer import MASK
from ..config import ObjectiveSettings, PretrainSettings
from ..encoders.build import from_spec
from ..encoders.encoder import Encoder, PatchEncoder
from ..encoders.spec import Medium
from ..keyed import step_seed
from .base import PretextObjective
from .blanked_pixels import BlankedPixels
from .classification import Classification, Target
from .colorization import Colorization
from .contrastive import Contrastive
from .frame_prediction import FramePrediction
from .masked_patches import MaskedPatches
from .masks import HoleMasks, Masks, PatchMasks, SpectrumMasks, TubeMasks
from .regression import Regression
from .shapes import Material, encoder_spec, medium_of, tokenizer_of, views_of
from .token_prediction import TokenPrediction
from .views import Views

#: The list of ab squares that colourisation froze.
_BINS = "ab_bins.csv"


@dataclass(frozen=True)
class _Parts:
    """What an objective is built from. other: the encoder of the sound, where pictures and sound are compared."""

    data: Material
    settings: ObjectiveSettings
    encoder: Encoder
    views: Views
    other: tuple[Encoder, Views] | None


def build_objective(data: Material, settings: PretrainSettings) -> PretextObjective:
    """Return the objective of a dataset with freshly drawn weights, the same for the same seed.

    Raises:
        ConfigError: an encoder or setting does not fit the dataset, or the objective is not known.
    """
    build = _BUILDERS.get(data.manifest.objective)
    if build is None:
        known = ", ".join(_BUILDERS)
        raise ConfigError(
            f"{data.manifest.task}: no trainer for the objective {data.manifest.objective}; known: {known}."
        )
    medium = medium_of(data)
    encoder = _encoder(data, medium, settings, 0)
    views = views_of(data, encoder.spec)
    other = None
    if encoder.spec.medium in ("image", "video") and data.inputs("audio"):
        sound = _encoder(data, "audio", settings, 1)
        other = (sound, views_of(data, sound.spec))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed("head", settings.seed))
        return build(_Parts(data, settings.objective, encoder, views, other))


def _encoder(data: Material, medium: Medium, settings: PretrainSettings, number: int) -> Encoder:
    chosen = settings.audio_encoder if number else settings.encoder
    return from_spec(encoder_spec(data, medium, chosen), step_seed("encoder", settings.seed, number))


def _classification(parts: _Parts) -> PretextObjective:
    labels = [name for name in parts.data.features.with_role("label") if name != "label_name"]
    targets = [Target(name, len(parts.data.features[name].classes)) for name in labels]
    if not targets:
        raise ConfigError(f"{parts.data.manifest.task}: classification needs a label column, but there is none.")
    return Classification(
        parts.encoder,
        parts.views,
        targets,
        other=parts.other,
        head_width=parts.settings.head_width,
        label_smoothing=parts.settings.label_smoothing,
    )


def _regression(parts: _Parts) -> PretextObjective:
    labels = [name for name in parts.data.features.with_role("label") if name in parts.data.numbers]
    if len(labels) != 1:
        raise ConfigError(
            f"{parts.data.manifest.task}: regression needs one label column, but there are {len(labels)}."
        )
    numbers = parts.data.numbers[labels[0]]
    return Regression(
        parts.encoder,
        parts.views,
        labels[0],
        mean=float(numbers.mean()),
        deviation=float(numbers.std()),
        other=parts.other,
        head_width=parts.settings.head_width,
    )


def _contrastive(parts: _Parts) -> PretextObjective:
    num_views = parts.views.num_views + (parts.other[1].num_views if parts.other else 0)
    if num_views != 2:
        raise ConfigError(
            f"{parts.data.manifest.task}: contrastive training needs two views of an example, not {num_views}."
        )
    return Contrastive(
        parts.encoder,
        parts.views,
        other=parts.other,
        width=parts.settings.projection_width,
        temperature=parts.settings.temperature,
    )


def _masked_prediction(parts: _Parts) -> PretextObjective:
    """Return the objective for what the columns say is hidden: patches, tubes, spectrum, a hole, or the chroma."""
    column = parts.views.columns[0]
    if "bins_sha256" in parts.data.features:
        bins = np.array([line.split(b",") for line in parts.data.assets[_BINS].split()]).astype(np.int16)
        return Colorization(parts.encoder, column, bins)
    if "overlap_px" in parts.data.features:
        return BlankedPixels(
            parts.encoder,
            column,
            HoleMasks(parts.data.task_settings),
            "square",
            parts.data.task_settings["overlap_px"],
        )
    kinds: Mapping[str, Callable[[Mapping[str, Any]], Masks]] = {
        "tubelet": TubeMasks,
        "num_frames_valid": SpectrumMasks,
        "mask_bits": PatchMasks,
    }
    for name, kind in kinds.items():
        if name in parts.data.features:
            return _patches(parts, column, kind(parts.data.task_settings))
    raise ConfigError(f"{parts.data.manifest.task}: none of its columns says what is hidden ({', '.join(kinds)}).")


def _patches(parts: _Parts, column: str, masks: Masks) -> PretextObjective:
    wants_mae = parts.settings.masked_style != "simmim"
    if isinstance(parts.encoder, PatchEncoder) and wants_mae:
        grid = parts.encoder.grid[::-1] if parts.encoder.spec.medium == "audio" else parts.encoder.grid
        if grid != masks.grid:
            raise ConfigError(
                f"`encoder`: its patches lie {' x '.join(map(str, grid))}, but those of {parts.data.manifest.task} "
                f"{' x '.join(map(str, masks.grid))}; set `encoder.patch_px`, or `objective.masked_style=simmim`."
            )
        return MaskedPatches(parts.encoder, column, masks, parts.settings.decoder_width, parts.settings.decoder_blocks)
    if parts.settings.masked_style == "mae" or parts.encoder.spec.medium == "video" or len(masks.grid) == 3:
        raise ConfigError(
            f"`encoder.name`: {parts.encoder.spec.name!r} cannot be trained by {parts.data.manifest.task} in the "
            f"style {parts.settings.masked_style}; a transformer over patches can."
        )
    return BlankedPixels(parts.encoder, column, masks, "absolute")


def _frame_prediction(parts: _Parts) -> PretextObjective:
    targets = [name for name in parts.data.features.with_role("label") if parts.data.features[name].kind == "image"]
    if len(targets) != 1:
        raise ConfigError(f"{parts.data.manifest.task}: frame prediction needs one label column of pictures.")
    return FramePrediction(parts.encoder, parts.views, targets[0], parts.data.rows[targets[0]].shape[1])


def _token_prediction(parts: _Parts) -> PretextObjective:
    tokenizer = tokenizer_of(parts.data)
    return TokenPrediction(
        parts.encoder, parts.data.task_settings["mlm_probability"], tokenizer.special_id(MASK), tokenizer.ordinary_ids
    )


_Builder = Callable[[_Parts], PretextObjective]
_BUILDERS: Mapping[str, _Builder] = {
    "classification": _classification,
    "regression": _regression,
    "contrastive": _contrastive,
    "masked_prediction": _masked_prediction,
    "frame_prediction": _frame_prediction,
    "token_prediction": _token_prediction,
}
