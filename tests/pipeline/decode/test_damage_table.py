"""One generated file for every class of damage that the README's table names, decoded behind the fence."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import Reject
from unlabeled.pipeline.items import ClipRequest

from tests import broken_media
from tests.broken_media import cut, encoded, flipped, jpeg, picture
from tests.media_files import chirp, default_video, sound_file

RATE_HZ = 16_000
Decode = Callable[[Fence, bytes], bool]


def image(fence: Fence, data: bytes) -> bool:
    item = fence.image(data)
    item.crop((0, 0, 4, 4), 4, 4)
    return item.is_truncated


def sound(fence: Fence, data: bytes) -> bool:
    return fence.audio(data).is_truncated


def video(fence: Fence, data: bytes) -> bool:
    opened = fence.video(data)
    opened.clips([ClipRequest(targets_us=(0, 1_800_000), crop_box=(0, 0, 32, 32), width_px=32, height_px=32)])
    return opened.is_truncated


def text(fence: Fence, data: bytes) -> bool:
    return [document.is_truncated for document in fence.documents(data, "a.txt")] != [False]


def tone(kind: str = "wav", seconds: float = 1.0) -> bytes:
    return sound_file(kind, chirp(RATE_HZ, seconds), RATE_HZ)


def not_a_number() -> bytes:
    samples = chirp(RATE_HZ, 1.0)
    samples[100] = np.nan
    return sound_file("wav", samples, RATE_HZ, subtype="FLOAT")


def no_frames() -> bytes:
    """Return a Matroska file that ends before its first cluster."""
    data = default_video("mkv-live")
    return data[: data.index(b"\x1f\x43\xb6\x75")]


#: Class of damage -> (decoder, file, reason or "" where it is decoded).
TABLE: dict[str, tuple[Decode, Callable[[], bytes], str]] = {
    "empty picture": (image, lambda: b"", "empty"),
    "empty sound": (sound, lambda: b"", "empty"),
    "picture cut short": (image, lambda: cut(jpeg()), "truncated"),
    "sound cut short": (sound, lambda: cut(tone("flac", 8.0)), "truncated"),
    "video cut short": (video, lambda: cut(default_video("mkv"), 0.7), "truncated"),
    "video cut before its table": (video, lambda: cut(default_video("mp4"), 0.5), "truncated"),
    "bit flipped in a checksummed sound": (sound, lambda: flipped(tone("ogg"), 1, 1, 4000), "corrupt"),
    "wrong extension, allowed format": (image, lambda: encoded(picture(), "PNG"), ""),
    "a sound named as a picture": (image, tone, "format_not_allowed"),
    "a web page named as a picture": (image, broken_media.html, "format_not_allowed"),
    "a format that is not on the list": (image, broken_media.eps, "format_not_allowed"),
    "noise": (image, lambda: bytes(range(256)) * 8, "unidentified"),
    "NaN in a picture": (image, lambda: broken_media.float_tiff(with_nan=True), "non_finite"),
    "NaN in a sound": (sound, not_a_number, "non_finite"),
    "no samples": (sound, lambda: tone(seconds=0.0), "zero_duration"),
    "no frames": (video, no_frames, "corrupt"),
    "a header that claims a giant picture": (image, lambda: broken_media.png_bomb(60_000, 60_000), "limit_pixels"),
    "bad EXIF": (image, broken_media.with_broken_exif, ""),
    "EXIF orientation of a senseless type": (image, broken_media.with_orientation_as_bytes, ""),
    "CMYK": (image, lambda: encoded(picture("CMYK"), "JPEG"), ""),
    "16 bits": (image, broken_media.sixteen_bit, ""),
    "palette": (image, lambda: encoded(picture("P"), "PNG"), ""),
    "animated": (image, broken_media.animated, ""),
    "alpha": (image, broken_media.see_through, ""),
    "colour profile": (image, lambda: broken_media.with_profile(broken_media.swapped_profile()), ""),
    "a video that holds sound alone": (video, lambda: tone("m4a"), "no_stream"),
    "a silent film asked for sound": (sound, lambda: default_video("mp4"), "no_stream"),
    "moov last": (video, lambda: default_video("mp4"), ""),
    "text that is no UTF-8": (text, lambda: b"caf\xe9 \xff\xfe\x80 words", "bad_encoding"),
}


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence(Limits(), DecodeOptions()) as opened:
        yield opened


@pytest.mark.parametrize("damage", TABLE)
def test_what_the_table_says_happens(fence: Fence, damage: str) -> None:
    decode, make, expected = TABLE[damage]
    reason = ""
    try:
        is_marked = decode(fence, make())
    except Reject as verdict:
        reason = str(verdict.reason)
    else:
        assert not is_marked
    assert reason == expected


@pytest.mark.parametrize("damage", ["picture cut short", "sound cut short", "video cut short"])
def test_a_file_cut_short_is_decoded_and_marked_where_asked_for(damage: str) -> None:
    decode, make, _ = TABLE[damage]
    with Fence(Limits(), DecodeOptions(truncated="decode")) as fence:
        assert decode(fence, make())
