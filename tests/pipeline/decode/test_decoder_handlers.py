"""Users' decoders behind a real fence: what they return, what is said where they fail."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from unlabeled.pipeline.decode.decoder_file import DecoderFile, Media
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import Limits
from unlabeled.pipeline.errors import ConfigError, Reject, RejectReason

IMAGE = """
import numpy as np

def decode(data):
    if data == b"bad":
        raise ValueError("no good")
    if data == b"float":
        return np.zeros((4, 4))
    if data == b"file":
        return open("/etc/hostname")
    return np.arange(len(data) * 2 * 3, dtype=np.uint8).reshape(2, len(data), 3)
"""
AUDIO = """
import numpy as np

def decode(data):
    return np.linspace(-0.5, 0.5, 8000 * 2, dtype=np.float32).reshape(-1, 2), 8000
"""
TEXT = "def decode(data):\n    return data.decode()[::-1]\n"


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence(
        Limits(max_pixels=1000), decoder_files=[of("image", IMAGE), of("audio", AUDIO), of("text", TEXT)]
    ) as it:
        yield it


def of(media: Media, text: str) -> DecoderFile:
    return DecoderFile(f"own_{media}", media, (".own",), text)


def test_pixels_cross_the_fence_whole_and_in_crops(fence: Fence) -> None:
    image = fence.image(b"1234", "a.own")
    expected = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (image.codec, image.width_px, image.height_px) == ("own_image", 4, 2)
    assert np.array_equal(image.pixels, expected)
    assert np.array_equal(image.crop((1, 0, 2, 2), 2, 2), expected[:, 1:3])


def test_sound_is_mixed_and_resampled_as_any_other(fence: Fence) -> None:
    sound = fence.audio(b"x", "a.own")
    assert (sound.sample_rate_hz, sound.source_sample_rate_hz, sound.num_channels) == (16_000, 8_000, 2)
    assert abs(len(sound.samples) - 16_000) < 50
    assert np.abs(sound.samples[4_000:12_000].astype(float) / 32768 - np.linspace(-0.25, 0.25, 8_000)).max() < 0.01


def test_text_is_one_document(fence: Fence) -> None:
    (document,) = fence.documents(b"abc", "a.own")
    assert document.text == "cba"


@pytest.mark.parametrize(
    ("data", "reason", "says"),
    [
        (b"bad", RejectReason.CORRUPT, "no good"),
        (b"float", RejectReason.UNKNOWN, "must return uint8"),
        (b"file", RejectReason.UNKNOWN, "Too many open files"),
        (b"x" * 501, RejectReason.LIMIT_PIXELS, "501 x 2 px"),
    ],
)
def test_what_it_does_wrong_is_a_verdict_on_the_source(
    fence: Fence, data: bytes, reason: RejectReason, says: str
) -> None:
    with pytest.raises(Reject, match=says) as caught:
        fence.image(data, "a.own")
    assert caught.value.reason is reason


def test_a_file_that_does_not_run_ends_the_run_and_says_why() -> None:
    with (
        Fence(decoder_files=[of("image", "import no_such_module")]) as fence,
        pytest.raises(ConfigError, match="No module named 'no_such_module'"),
    ):
        fence.image(b"x", "a.own")
