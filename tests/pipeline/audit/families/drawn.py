"""Examples made of arrays, as the families see them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from unlabeled.pipeline.audit.seen import Seen, Sound, Still
from unlabeled.pipeline.encode import encode_flac, encode_jpeg, encode_png


def pictures(*pixels: np.ndarray, lossless: bool = True, is_timed: bool = False, clips: Sequence[int] = ()) -> Seen:
    encode = encode_png if lossless else encode_jpeg
    stills = tuple(Still(encode(one)) for one in pixels)
    return Seen(stills=stills, clips=tuple(clips) or (len(stills),), is_timed=is_timed)


def sounds(*samples: np.ndarray, rate_hz: int = 16000) -> Seen:
    return Seen(sounds=tuple(Sound(encode_flac(one.astype(np.float32), rate_hz), rate_hz) for one in samples))
