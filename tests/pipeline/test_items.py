from __future__ import annotations

import numpy as np
import pytest
from unlabeled.pipeline.items import Waveform

from tests.samples import image_item, photograph


def waveform(samples: list[int], rate_hz: int = 4) -> Waveform:
    return Waveform(
        media_kind="audio",
        codec="pcm_s16le",
        samples=np.array(samples, np.int16),
        sample_rate_hz=rate_hz,
        source_sample_rate_hz=rate_hz,
        num_channels=1,
    )


def test_width_and_height_are_those_of_the_upright_picture() -> None:
    image = image_item(width_px=48, height_px=32)
    assert (image.width_px, image.height_px) == (48, 32)


def test_a_crop_comes_from_the_box() -> None:
    assert np.array_equal(
        image_item(3).crop((5, 6, 20, 10), 20, 10),
        photograph(3)[6:16, 5:25],
    )


def test_duration() -> None:
    assert waveform([0] * 10).duration_seconds == 2.5


def test_a_clip_is_scaled_to_one() -> None:
    clip = waveform([0, -32768, 16384, 32767]).clip(1, 3)
    assert clip.dtype == np.float32
    assert clip.tolist() == [-1.0, 0.5, 32767 / 32768]


@pytest.mark.parametrize(("start", "num_samples"), [(-1, 2), (3, 2), (0, 5)])
def test_a_clip_beyond_the_recording_is_refused(start: int, num_samples: int) -> None:
    with pytest.raises(IndexError, match="leaves"):
        waveform([1, 2, 3, 4]).clip(start, num_samples)


def test_a_clip_of_the_whole_recording() -> None:
    assert len(waveform([1, 2, 3, 4]).clip(0, 4)) == 4
