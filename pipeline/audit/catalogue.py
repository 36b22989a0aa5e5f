"""All families that look at one example at a time, in the order of the report."""

from __future__ import annotations

import numpy as np

from .families import between, picture, sound, stored, words
from .families.family import Cues, Family, combined
from .seen import Seen


def _noise(seen: Seen) -> Cues:
    pictures = combined([picture.noise(still) for still in seen.stills])
    return np.concatenate([pictures, combined([sound.noise(one) for one in seen.sounds])])


def _ends(seen: Seen) -> Cues:
    return combined([sound.ends(one) for one in seen.sounds])


FAMILIES = (
    Family("container", "bytes, bytes per pixel or sample, format, headers, chroma sampling", stored.container),
    Family("quantisation", "JPEG quantisation tables", stored.quantisation),
    Family("geometry", "width, height, length", stored.geometry),
    Family("grid_phase", "8 x 8 grid of an earlier JPEG, by phase", picture.grid_phase),
    Family("borders", "black bars and corners", picture.borders),
    Family("chroma", "finest detail of the colours by direction, shift of the channels", picture.chroma),
    Family("noise", "noise floor, level, spectral tilt, DC", _noise),
    Family("continuity", "how well one part's end goes on in another's beginning", between.continuity),
    Family("ends", "codec priming and padding, fades, position in the file", _ends),
    Family("sharpness", "sharpness of the frames in order (key-frame saw-tooth)", between.sharpness),
    Family("repeats", "doubled frames, seams", between.repeats),
    Family("exposure", "brightness and contrast of the frames in order", between.exposure),
    Family("length", "length of segments and padding", words.lengths),
    Family("layout", "3 x 3 mean colours, direction of steps (the sky is up)", picture.layout, is_semantic=True),
)
#: Families of what stands beside an example; see families/columns.py.
COLUMN_FAMILIES = {
    "position": "row position and draw",
    "lineage": "every other lineage column",
    "picture_type": "coding type of the frames in their source",
    "boilerplate": "in how many other groups the first and last words recur",
}
