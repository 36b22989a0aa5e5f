"""From a dataset's manifest to its objective: head and loss follow from columns and settings, never from task code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ...pipeline.errors import ConfigError
from ..config import ObjectiveSettings, PretrainSettings
from ..encoders.build import from_spec
from ..encoders.encoder import Encoder
from ..encoders.spec import Medium
from ..keyed import step_seed
from .base import PretextObjective
from .classification import Classification, Target
from .shapes import Material, encoder_spec, medium_of, views_of
from .views import Views

_Other = tuple[Encoder, Views] | None


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
    other: _Other = None
    if encoder.spec.medium in ("image", "video") and data.inputs("audio"):
        sound = _encoder(data, "audio", settings, 1)
        other = (sound, views_of(data, sound.spec))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(step_seed("head", settings.seed))
        return build(data, settings.objective, encoder, views, other)


def _encoder(data: Material, medium: Medium, settings: PretrainSettings, number: int) -> Encoder:
    chosen = settings.audio_encoder if number else settings.encoder
    return from_spec(encoder_spec(data, medium, chosen), step_seed("encoder", settings.seed, number))


def _classification(
    data: Material, settings: ObjectiveSettings, encoder: Encoder, views: Views, other: _Other
) -> PretextObjective:
    labels = [name for name in data.features.with_role("label") if name != "label_name"]
    targets = [Target(name, len(data.features[name].classes)) for name in labels]
    if not targets:
        raise ConfigError(f"{data.manifest.task}: classification needs a label column, but there is none.")
    return Classification(
        encoder, views, targets, other=other, head_width=settings.head_width, label_smoothing=settings.label_smoothing
    )


_Builder = Callable[[Material, ObjectiveSettings, Encoder, Views, _Other], PretextObjective]
_BUILDERS: Mapping[str, _Builder] = {"classification": _classification}
