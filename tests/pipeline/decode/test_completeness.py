"""What containers say of their own end."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.decode.bytes_source import MemoryBytes
from unlabeled.pipeline.decode.completeness import Completeness, completeness
from unlabeled.pipeline.errors import Reject

from tests.media_files import chirp, default_video, real_media, sound_file

STRUCTURED = (
    "wav",
    "ogg",
    "opus",
    "oga",
    "m4a",
    "webm",
    "mp4",
    "mp4-faststart",
    "mov",
    "mkv",
    "avi",
)
UNSTRUCTURED = ("flac", "mp3", "aac", "mkv-live", "mp4-fragmented")
SOUNDS = ("wav", "ogg", "opus", "oga", "m4a", "flac", "mp3", "aac")


def media(kind: str) -> bytes:
    return sound_file(kind, chirp(48_000, 0.5), 48_000) if kind in SOUNDS else default_video(kind)


def verdict(data: bytes) -> Completeness:
    return completeness(MemoryBytes(data))


def verdict_or_reject(data: bytes) -> Completeness | Reject:
    try:
        return verdict(data)
    except Reject as reject:
        return reject


@pytest.mark.parametrize("kind", STRUCTURED)
def test_a_whole_file_is_complete(kind: str) -> None:
    found = verdict(media(kind))
    assert (found.is_known, found.missing, found.may_end_early) == (True, None, False)


@pytest.mark.parametrize("kind", STRUCTURED)
@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_a_file_cut_short_misses_bytes(kind: str, fraction: float) -> None:
    data = media(kind)
    assert verdict(data[: int(len(data) * fraction)]).missing


@pytest.mark.parametrize("kind", UNSTRUCTURED)
def test_other_formats_do_not_tell(kind: str) -> None:
    assert verdict(media(kind)[:-100]) == Completeness(is_known=False)


@pytest.mark.parametrize(("num_cut", "is_missing"), [(0, False), (188, False), (1, True), (187, True)])
def test_a_transport_stream_consists_of_whole_packets(num_cut: int, is_missing: bool) -> None:
    data = media("ts")
    found = verdict(data[: len(data) - num_cut])
    assert (found.missing is not None, found.may_end_early) == (is_missing, True)


def test_padding_behind_the_boxes_is_nothing_missing() -> None:
    assert verdict(media("mp4") + bytes(100)).missing is None


def test_tags_behind_the_last_page_are_nothing_missing() -> None:
    assert verdict(media("ogg") + b"TAG" + bytes(125)).missing is None


@pytest.mark.parametrize("size", [0xFFFF_FFFF, 0x7FFF_F000])
def test_a_wav_written_to_a_pipe_does_not_tell(size: int) -> None:
    data = media("wav")
    place = data.index(b"data") + 4
    assert not verdict(data[:place] + struct.pack("<I", size) + data[place + 4 :]).is_known


def test_a_wav_of_more_than_4_gigabytes_states_its_length_elsewhere() -> None:
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, 5_000, 0, 0)
    data = b"RF64" + struct.pack("<I", 0xFFFF_FFFF) + b"WAVE" + ds64 + b"data" + struct.pack("<I", 0xFFFF_FFFF)
    assert verdict(data + bytes(4_999)).missing
    assert verdict(data + bytes(5_000)).missing is None


@given(place=st.integers(60, 5_000), bit=st.integers(0, 7))
def test_every_flipped_bit_of_an_ogg_file_is_found(place: int, bit: int) -> None:
    data = bytearray(sound_file("ogg", chirp(16_000, 1.0), 16_000))
    place %= len(data)
    data[place] ^= 1 << bit
    found = verdict_or_reject(bytes(data))
    if isinstance(found, Reject):
        assert (found.reason, (found.offset_bytes or 0) <= place) == ("corrupt", True)
    else:
        assert not found.is_known or found.missing


def test_a_lost_page_is_found() -> None:
    data = sound_file("opus", chirp(48_000, 3.0), 48_000)
    pages = [b"OggS" + page for page in data.split(b"OggS")[1:]]
    assert len(pages) > 4
    with pytest.raises(Reject, match="lost"):
        verdict(b"".join(pages[:3] + pages[4:]))


@given(st.binary(max_size=300), st.sampled_from(STRUCTURED))
def test_any_bytes_get_a_verdict(garbage: bytes, kind: str) -> None:
    for data in (garbage, media(kind)[:64] + garbage):
        found = verdict_or_reject(data)
        assert isinstance(found, Completeness) or found.reason == "corrupt"


@pytest.mark.real_media
@pytest.mark.parametrize("archive", ["video/clips_mixed.tar", "video/asl_gestures.tar", "audio/longform_mixed.tar.xz"])
def test_real_media_miss_nothing(archive: str) -> None:
    assert {name: found for name, data in real_media(archive).items() if (found := verdict(data).missing)} == {}
