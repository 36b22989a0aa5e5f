"""An example as a small network takes it: its pictures and sounds, reduced to a few channels of one size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ..sound import log_mel
from .seen import Seen, Sound, Still

SIDE = 32
_MAX_STILLS = 16


def shrunk(seen: Seen) -> NDArray[np.float32]:
    """Return float32 [num_channels, 32, 32], roughly in [-1, 1]; no channels where there is neither picture nor sound.

    Three channels a picture (of many pictures 16, evenly), one a sound: its log-mel spectrogram over its own range.
    """
    places = np.linspace(0, len(seen.stills) - 1, min(_MAX_STILLS, len(seen.stills))).round().astype(int)
    channels = [_still(seen.stills[place]) for place in places] + [_sound(one) for one in seen.sounds]
    return np.concatenate(channels) if channels else np.zeros((0, SIDE, SIDE), np.float32)


def _still(still: Still) -> NDArray[np.float32]:
    small = PillowImage.fromarray(still.pixels).resize((SIDE, SIDE), PillowImage.Resampling.BOX)
    return ((np.asarray(small, np.float32).transpose(2, 0, 1) - 128) / 128).astype(np.float32)


def _sound(sound: Sound) -> NDArray[np.float32]:
    mel = log_mel(sound.samples, sound.sample_rate_hz, num_mels=SIDE)
    if not len(mel):
        return np.zeros((1, SIDE, SIDE), np.float32)
    low, high = float(mel.min()), float(mel.max())
    grey = PillowImage.fromarray(((mel - low) / max(high - low, 1e-6) * 255).astype(np.uint8))
    small = np.asarray(grey.resize((SIDE, SIDE), PillowImage.Resampling.BOX), np.float32)
    return ((small[None] - 128) / 128).astype(np.float32)
