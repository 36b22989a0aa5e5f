"""How an example is stored: container, size, quantisation, geometry. None of it may say what is shown."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as PillowImage

from ..seen import Seen, Still
from .family import NOTHING, Cues, combined

#: JPEG segments with content of their own: APP0 to APP15 and comments.
_EXTRAS = frozenset([*range(0xE0, 0xF0), 0xFE])
_NUM_COEFFICIENTS = 10


def container(seen: Seen) -> Cues:
    """Return of each picture and sound: size, size per pixel or sample, format, headers, subsampling."""
    pictures = [_picture(still) for still in seen.stills]
    sounds = [
        [np.log(len(one.data)), len(one.data) / max(1, len(one.samples)), float(one.data[:4] == b"fLaC")]
        for one in seen.sounds
    ]
    return np.concatenate([combined(pictures), combined(sounds)])


def _picture(still: Still) -> list[float]:
    height, width = still.pixels.shape[:2]
    stored = [float(np.log(len(still.data))), 8 * len(still.data) / (height * width)]
    if still.data[:2] != b"\xff\xd8":
        return [*stored, 0.0, 0.0, 0.0, 0.0, 0.0]
    num_segments, extra_bytes, frame_kind, sampling = _segments(still.data)
    return [*stored, 1.0, float(num_segments), float(extra_bytes), float(frame_kind), float(sampling)]


def _segments(data: bytes) -> tuple[int, int, int, int]:
    """Return a JPEG's number of segments, bytes of application data, kind of frame, sampling factors of luma."""
    place, num, extra, kind, sampling = 2, 0, 0, 0, 0
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        num += 1
        extra += length if marker in _EXTRAS else 0
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and place + 12 <= len(data):
            kind, sampling = marker, data[place + 11]
        if marker == 0xDA:
            break
        place += 2 + length
    return num, extra, kind, sampling


def quantisation(seen: Seen) -> Cues:
    """Return of each picture the head and sum of its JPEG tables; zeros for what has none."""
    return combined([_tables(still) for still in seen.stills])


def _tables(still: Still) -> list[float]:
    with PillowImage.open(io.BytesIO(still.data), formats=("JPEG", "PNG")) as picture:
        found = getattr(picture, "quantization", None) or {}
    told: list[float] = []
    for number in range(2):
        table = list(found.get(number, [0] * 64))
        told += [float(sum(table)), *(float(entry) for entry in table[:_NUM_COEFFICIENTS])]
    return told


def geometry(seen: Seen) -> Cues:
    """Return of each picture width, height and their ratio, of each sound its length, and how many there are."""
    pictures = [
        [still.pixels.shape[1], still.pixels.shape[0], still.pixels.shape[1] / still.pixels.shape[0]]
        for still in seen.stills
    ]
    sounds = [[float(len(one.samples))] for one in seen.sounds]
    if not pictures and not sounds:
        return NOTHING
    counts = np.asarray([len(pictures), len(sounds)], np.float32)
    return np.concatenate([combined(pictures), combined(sounds), counts])
