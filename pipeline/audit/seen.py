"""One stored example as a model would see it: its inputs decoded, in the order of the columns."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ..encode import decode_flac, decode_still
from ..errors import CorruptData
from ..features import Feature, Features

#: A stored picture or sound of more than this is none that a task of ours writes.
_MAX_PIXELS = 64_000_000
_MAX_SOUND_BYTES = 64_000_000
Lumas = NDArray[np.float32]


@dataclass(frozen=True)
class Still:
    """A stored picture: `data` as stored. `pixels`: uint8 [height, width, 3]; `luma`: float32, 0 to 255."""

    data: bytes

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The picture, decoded once."""
        with PillowImage.open(io.BytesIO(self.data), formats=("JPEG", "PNG")) as picture:
            if picture.width * picture.height > _MAX_PIXELS:
                raise CorruptData(f"a stored picture of {picture.width} x {picture.height} px is none of ours.")
        return decode_still(self.data)

    @cached_property
    def luma(self) -> Lumas:
        """Its brightness (ITU-R BT.601)."""
        return self.pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Sound:
    """A stored sound: `data` as stored. `samples`: float32 [num_samples] in [-1, 1)."""

    data: bytes
    sample_rate_hz: int

    @cached_property
    def samples(self) -> NDArray[np.float32]:
        """The sound, decoded once."""
        if len(self.data) > _MAX_SOUND_BYTES:
            raise CorruptData(f"a stored sound of {len(self.data)} bytes is none of ours.")
        return decode_flac(self.data)


@dataclass(frozen=True)
class Seen:
    """What a model may see of an example.

    Attributes:
        stills: all pictures, lists flattened in order.
        clips: lengths of the lists that the stills came in; one entry where they are one strip or single pictures.
        is_timed: whether the stills follow each other in time, as frames of a video do.
        sounds: all sounds.
        segments: token ids of each segment of a text, padding left out.
        texts: strings among the inputs.
        length: of token sequences, padding included.
    """

    stills: tuple[Still, ...] = ()
    clips: tuple[int, ...] = ()
    is_timed: bool = False
    sounds: tuple[Sound, ...] = ()
    segments: tuple[NDArray[np.int64], ...] = ()
    texts: tuple[str, ...] = ()
    length: int = 0


def see(features: Features, row: Mapping[str, Any]) -> Seen:
    """Return the inputs of a stored row; labels, parameters and lineage are not looked at.

    Raises CorruptData where a stored picture or sound is none that a task could have written.
    """
    stills: list[Still] = []
    clips: list[int] = []
    sounds: list[Sound] = []
    texts: list[str] = []
    for name in features.with_role("input"):
        feature = features[name]
        if feature.kind == "image":
            found = [Still(cell["bytes"]) for cell in leaves(feature, row[name])]
            stills += found
            clips += [len(one) for one in row[name]] if len(feature.shape) > 1 else [len(found)]
        elif feature.kind == "audio":
            sounds += [Sound(cell["bytes"], feature.sample_rate_hz) for cell in leaves(feature, row[name])]
        elif feature.dtype == "string":
            texts += [str(cell) for cell in leaves(feature, row[name])]
    segments, length = _segments(row) if "input_ids" in features else ((), 0)
    return Seen(
        stills=tuple(stills),
        clips=tuple(clips),
        is_timed=str(row.get("media_kind", "")).startswith("video"),
        sounds=tuple(sounds),
        segments=segments,
        texts=tuple(texts),
        length=length,
    )


def leaves(feature: Feature, cell: Any) -> list[Any]:
    """Return the entries of a cell, its lists flattened, in order; none of a null."""
    entries: Sequence[Any] = [] if cell is None else [cell]
    for _ in feature.shape:
        entries = [leaf for entry in entries for leaf in entry]
    return list(entries)


def _segments(row: Mapping[str, Any]) -> tuple[tuple[NDArray[np.int64], ...], int]:
    """Return each segment's token ids (type 0 first), from the columns that text tasks have."""
    ids = np.asarray(row["input_ids"], np.int64)
    is_real = np.asarray(row.get("attention_mask", np.ones(len(ids))), bool)
    types = np.asarray(row.get("token_type_ids", np.zeros(len(ids))), np.int64)
    return tuple(ids[is_real & (types == kind)] for kind in range(int(types.max(initial=0)) + 1)), len(ids)
