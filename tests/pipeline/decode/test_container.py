"""Opening containers: formats by content, errors as rejects, and nothing but the bytes is ever read."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from av.packet import Packet
from unlabeled.pipeline.decode.bytes_source import MemoryBytes
from unlabeled.pipeline.decode.container import (
    AUDIO_DEMUXERS,
    VIDEO_DEMUXERS,
    WatchedFile,
    after_id3,
    check_size,
    ffmpeg_errors,
    next_packet,
    open_container,
)
from unlabeled.pipeline.decode.limits import Limits
from unlabeled.pipeline.errors import Reject, StoreError

from tests.hostile_media import tricks
from tests.media_files import SOUND_KINDS, VIDEO_KINDS, chirp, default_video, sound_file, video_file
from tests.sealed import KILLED, run_sealed


class Failing:
    """A source whose store fails after the first reads."""

    num_bytes = 100_000

    def __init__(self, good: bytes, num_good_reads: int) -> None:
        self._good = good
        self._left = num_good_reads

    def read(self, offset: int, length: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise StoreError("the store is down")
        return self._good[offset : offset + length]


@pytest.fixture
def sibling(tmp_path: Path) -> Path:
    path = tmp_path / "sibling.mp4"
    path.write_bytes(default_video("mp4"))
    return path


TRICKS = sorted(tricks(Path("/nowhere/sibling.mp4")))


@pytest.mark.parametrize("name", TRICKS)
@pytest.mark.parametrize("function", ["watch", "listen"])
def test_a_trick_opens_no_file_and_no_socket(name: str, function: str, sibling: Path) -> None:
    result = run_sealed(f"tests.hostile_media:{function}", tricks(sibling)[name], sibling.parent)
    assert result.returncode == 0, result.stderr
    if name != "avi-subtitle-playlist":
        assert result.stdout in (b"format_not_allowed", b"unidentified")


@pytest.mark.parametrize("name", ["concat-relative", "sdp"])
def test_the_seal_catches_who_opens_carelessly(name: str, sibling: Path) -> None:
    result = run_sealed("tests.hostile_media:open_carelessly", tricks(sibling)[name], sibling.parent)
    assert result.returncode == KILLED


def test_the_picture_beside_a_subtitle_trick_is_still_decoded(sibling: Path) -> None:
    result = run_sealed("tests.hostile_media:watch", tricks(sibling)["avi-subtitle-playlist"], sibling.parent)
    assert result.stdout == b"3 frames"


# MPEG-TS is not here: FFmpeg reads the names of its services with iconv, for which glibc loads modules of its own.
@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm", "avi"])
def test_decoding_a_video_needs_no_file(kind: str, tmp_path: Path) -> None:
    assert run_sealed("tests.hostile_media:watch", default_video(kind), tmp_path).stdout == b"3 frames"


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "m4a", "opus"])
def test_decoding_a_sound_needs_no_file(kind: str, tmp_path: Path) -> None:
    result = run_sealed("tests.hostile_media:listen", sound_file(kind, chirp(48_000, 0.5), 48_000), tmp_path)
    assert result.returncode == 0
    assert result.stdout.endswith(b" samples")


def open_bytes(data: bytes, demuxers: tuple[str, ...]) -> av.container.InputContainer:
    return open_container(WatchedFile(MemoryBytes(data)), demuxers)


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_every_video_format_is_allowed(kind: str) -> None:
    with open_bytes(default_video(kind), VIDEO_DEMUXERS) as container:
        assert len(container.streams.video) == 1


@pytest.mark.parametrize("kind", sorted({*SOUND_KINDS} - {"wav", "flac"}))
def test_every_sound_format_of_ffmpeg_is_allowed(kind: str) -> None:
    with open_bytes(sound_file(kind, chirp(48_000, 0.2), 48_000), AUDIO_DEMUXERS) as container:
        assert len(container.streams.audio) == 1


@pytest.mark.parametrize("name", [*VIDEO_DEMUXERS, *AUDIO_DEMUXERS])
def test_the_names_are_those_of_demuxers(name: str) -> None:
    assert av.format.ContainerFormat(name, "r").is_input


def reason_of(data: bytes, demuxers: tuple[str, ...] = VIDEO_DEMUXERS) -> str:
    with pytest.raises(Reject) as caught:
        open_bytes(data, demuxers)
    return caught.value.reason


def test_a_known_format_that_is_not_on_the_list() -> None:
    assert reason_of(sound_file("wav", chirp(8_000, 0.1), 8_000)) == "format_not_allowed"


def test_a_video_format_is_not_a_sound_format() -> None:
    assert reason_of(default_video("avi"), AUDIO_DEMUXERS) == "format_not_allowed"


def test_an_unknown_format() -> None:
    assert reason_of(bytes(range(256)) * 8) == "unidentified"


def test_an_allowed_format_that_does_not_open() -> None:
    assert reason_of(b"\x1aE\xdf\xa3" + b"\xff" * 2000) == "corrupt"


def demux(file: WatchedFile) -> None:
    with open_container(file, VIDEO_DEMUXERS) as container, ffmpeg_errors(file):
        for _ in container.demux(video=0):
            pass


@pytest.mark.parametrize("num_good_reads", [0, 1, 3])
def test_a_store_error_is_not_taken_for_a_bad_file(num_good_reads: int) -> None:
    file = WatchedFile(Failing(default_video("mp4-faststart"), num_good_reads))
    with pytest.raises(StoreError):
        demux(file)


def test_a_file_seeks_like_c() -> None:
    file = WatchedFile(MemoryBytes(b"0123456789"))
    assert (file.seek(4), file.seek(-5), file.tell()) == (4, -1, 4)


def test_a_file_counts_what_is_read() -> None:
    file = WatchedFile(MemoryBytes(b"0123456789"))
    assert (file.read(4), file.is_at_end) == (b"0123", False)
    file.read(100)
    assert (file.num_bytes_read, file.is_at_end) == (10, True)


def test_it_has_no_name() -> None:
    assert not hasattr(WatchedFile(MemoryBytes(b"x")), "name")


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"x" * 11, "limit_bytes")])
def test_sizes_are_checked_first(data: bytes, reason: str) -> None:
    with pytest.raises(Reject) as caught:
        check_size(MemoryBytes(data), Limits(max_source_bytes=10))
    assert caught.value.reason == reason


def test_an_id3_tag_is_measured() -> None:
    size = struct.pack(">4B", 0, 0, 1, 5)
    assert after_id3(MemoryBytes(b"ID3\4\0\0" + size + b"x" * 200)) == 10 + 128 + 5


def test_tags_in_an_unknown_encoding_do_no_harm() -> None:
    data = video_file("mkv").replace(b"ENCODER", b"\xff\xfe\xfdODER")
    with open_bytes(data, VIDEO_DEMUXERS) as container:
        assert container.streams.video


def test_a_stream_that_turns_up_late_is_not_in_the_way() -> None:
    """An FLV whose header announces no sound, but which holds some: PyAV asks for a stream that it does not know."""

    def packets() -> Iterator[Packet[Any]]:
        raise IndexError("list index out of range")
        yield

    assert next_packet(packets()) is None
