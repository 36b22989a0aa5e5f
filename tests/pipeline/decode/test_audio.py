"""Sound of any format to mono int16."""

from __future__ import annotations

import io
import struct
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from unlabeled.pipeline.decode.audio import OpenSound, open_sound, open_soundtrack, read_waveform
from unlabeled.pipeline.decode.bytes_source import Blocks, MemoryBytes
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import TRANSIENT_REASONS, Reject, RejectReason
from unlabeled.pipeline.items import Waveform

from tests.media_files import (
    SOUND_KINDS,
    chirp,
    default_video,
    likeness,
    real_labels,
    real_media,
    sound_file,
    video_file,
)

LOSSLESS = ("wav", "flac", "mov", "oga")


def read(data: bytes, options: DecodeOptions | None = None, **limits: float) -> Waveform:
    source = MemoryBytes(data)
    return read_waveform(open_sound(source, Limits(**limits), options or DecodeOptions()))  # type: ignore[arg-type]


def rejected(data: bytes, **limits: float) -> Reject:
    with pytest.raises(Reject) as caught:
        read(data, **limits)
    return caught.value


def lenient(data: bytes) -> Waveform:
    return read(data, DecodeOptions(truncated="decode"))


def expected(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    return soxr.resample(samples.mean(axis=1), rate_hz, 16_000, "HQ")


@pytest.mark.parametrize("kind", SOUND_KINDS)
def test_every_format_is_heard(kind: str) -> None:
    rate_hz = 48_000
    wave = read(sound_file(kind, chirp(rate_hz, 1.0, 2), rate_hz))
    assert (wave.sample_rate_hz, wave.source_sample_rate_hz, wave.num_channels) == (16_000, rate_hz, 2)
    assert abs(wave.duration_seconds - 1.0) < 0.06
    assert likeness(wave.samples, expected(chirp(rate_hz, 1.0, 2), rate_hz))[0] > 0.99


@pytest.mark.parametrize("kind", LOSSLESS)
def test_16_bit_mono_at_the_target_rate_comes_through_unchanged(kind: str) -> None:
    samples = np.random.default_rng(0).integers(-32_768, 32_768, 16_000, np.int16)
    data = sound_file(kind, (samples / np.float32(32_768)).astype(np.float32)[:, None], 16_000)
    assert np.array_equal(read(data).samples, samples)


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM"]
)
def test_every_kind_of_wav(subtype: str) -> None:
    wave = read(sound_file("wav", chirp(16_000, 0.5), 16_000, subtype=subtype))
    assert likeness(wave.samples, chirp(16_000, 0.5)[:, 0])[0] > 0.99


def test_resampling_is_soxr_hq_of_the_mean() -> None:
    samples = chirp(44_100, 1.0, 6)
    wave = read(sound_file("wav", samples, 44_100, subtype="FLOAT"))
    ideal = np.rint(expected(samples, 44_100) * 32_768)
    assert np.abs(wave.samples - ideal).max() <= 1


def test_loud_sound_is_clipped() -> None:
    loud = np.array([[2.0], [-2.0], [1.0], [-1.0], [0.5 / 32_768], [1.5 / 32_768]], np.float32)
    wave = read(sound_file("wav", loud, 16_000, subtype="FLOAT"))
    assert wave.samples.tolist() == [32_767, -32_768, 32_767, -32_768, 0, 2]


def test_the_target_rate_is_an_option() -> None:
    wave = read(sound_file("wav", chirp(16_000, 1.0), 16_000), DecodeOptions(audio_rate_hz=8_000))
    assert (wave.sample_rate_hz, len(wave.samples)) == (8_000, 8_000)


class Trickling:
    """A source that gives less than it is asked for."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step, self.num_bytes = data, step, len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + min(length, self._step)]


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "m4a"])
def test_the_result_does_not_depend_on_how_bytes_are_read(kind: str) -> None:
    data = sound_file(kind, chirp(44_100, 3.0, 2), 44_100)
    sources = [MemoryBytes(data), Blocks(MemoryBytes(data), block_bytes=997, num_kept=1)]
    waves = [read_waveform(open_sound(source, Limits(), DecodeOptions())) for source in sources]
    assert np.array_equal(waves[0].samples, waves[1].samples)


def test_it_is_a_stream() -> None:
    data = sound_file("flac", chirp(8_000, 300.0), 8_000)
    tracemalloc.start()
    sound = open_sound(MemoryBytes(data), Limits(), DecodeOptions())
    num_samples = sum(len(block) for block in sound.blocks())
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_samples == 300 * 16_000
    assert peak_bytes < num_samples


@pytest.mark.parametrize("kind", ["wav", "ogg", "opus", "oga", "m4a", "webm", "flac"])
def test_a_file_cut_short_is_truncated(kind: str) -> None:
    data = sound_file(kind, chirp(48_000, 4.0), 48_000)
    assert rejected(data[: len(data) * 3 // 4]).reason == "truncated"


@pytest.mark.parametrize("kind", ["wav", "ogg", "opus", "flac", "mp3"])
def test_a_file_cut_short_is_decoded_and_marked_where_asked_for(kind: str) -> None:
    data = sound_file(kind, chirp(48_000, 4.0), 48_000)
    wave = lenient(data[: len(data) * 3 // 4])
    assert wave.is_truncated
    assert 1.0 < wave.duration_seconds < 3.9


@pytest.mark.parametrize("kind", SOUND_KINDS)
def test_a_whole_file_is_not_marked(kind: str) -> None:
    assert not lenient(sound_file(kind, chirp(48_000, 1.0), 48_000)).is_truncated


def test_an_mp3_shorter_than_its_table_says_is_truncated() -> None:
    data = sound_file("mp3", chirp(44_100, 10.0), 44_100)
    reject = rejected(data[: len(data) // 2])
    assert reject.reason == "truncated"


@pytest.mark.parametrize("kind", ["flac", "ogg", "opus"])
def test_flipped_bits_are_found(kind: str) -> None:
    data = bytearray(sound_file(kind, chirp(48_000, 2.0), 48_000))
    data[len(data) // 2] ^= 0x10
    assert rejected(bytes(data)).reason in ("corrupt", "truncated")


def test_junk_before_an_mp3_is_skipped() -> None:
    data = sound_file("mp3", chirp(44_100, 2.0), 44_100)
    assert abs(read(bytes(range(1, 200)) + data).duration_seconds - 2.0) < 0.1


def test_a_wav_that_declares_more_than_there_is_gives_what_there_is() -> None:
    data = sound_file("wav", chirp(16_000, 1.0), 16_000)
    place = data.index(b"data") + 4
    lying = data[:place] + struct.pack("<I", 10 * 32_000) + data[place + 4 :]
    assert rejected(lying).reason == "truncated"
    assert lenient(lying).duration_seconds == 1.0


def test_a_wav_from_a_pipe_is_read_to_its_end() -> None:
    data = sound_file("wav", chirp(16_000, 1.0), 16_000)
    place = data.index(b"data") + 4
    assert read(data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :]).duration_seconds == 1.0


def with_flac_length(data: bytes, num_samples: int) -> bytes:
    """Return a FLAC file whose header declares `num_samples` (36 bits from bit 4 of byte 21 on)."""
    changed = bytearray(data)
    changed[21] = changed[21] & 0xF0 | num_samples >> 32
    changed[22:26] = struct.pack(">I", num_samples & 0xFFFF_FFFF)
    return bytes(changed)


def test_a_flac_that_declares_terabytes_is_over_a_limit() -> None:
    data = with_flac_length(sound_file("flac", chirp(16_000, 1.0), 16_000), 2**34)
    assert rejected(data).reason in ("limit_samples", "limit_seconds")


def test_a_flac_without_a_length_is_read_to_its_end() -> None:
    data = with_flac_length(sound_file("flac", chirp(16_000, 1.0), 16_000), 0)
    assert read(data).duration_seconds == 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_rejected(bad: float) -> None:
    samples = chirp(16_000, 0.2, 2)
    samples[1_000, 1] = bad
    assert rejected(sound_file("wav", samples, 16_000, subtype="FLOAT")).reason == "non_finite"


def test_no_samples_are_no_duration() -> None:
    assert rejected(sound_file("wav", np.empty((0, 1), np.float32), 16_000)).reason == "zero_duration"


def test_a_flac_of_a_header_alone_has_no_duration() -> None:
    header = bytearray(with_flac_length(sound_file("flac", chirp(16_000, 1.0), 16_000), 0)[:42])
    header[4] |= 0x80  # the last block of metadata
    assert rejected(bytes(header)).reason == "zero_duration"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_channels": 1}, "limit_channels"),
        ({"max_rate_hz": 44_100}, "limit_rate"),
        ({"max_seconds": 0.5}, "limit_seconds"),
        ({"max_samples": 1_000}, "limit_samples"),
        ({"max_output_bytes": 1_000}, "limit_output"),
        ({"max_source_bytes": 1_000}, "limit_bytes"),
    ],
)
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "m4a", "opus"])
def test_limits(kind: str, limits: dict[str, float], reason: str) -> None:
    assert rejected(sound_file(kind, chirp(48_000, 1.0, 2), 48_000), **limits).reason == reason


def test_limits_hold_where_the_header_states_no_length() -> None:
    data = with_flac_length(sound_file("flac", chirp(16_000, 10.0), 16_000), 0)
    assert rejected(data, max_seconds=5).reason == "limit_seconds"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"RIFF\x24\0\0\0WAVEjunk", "truncated"),
        (b"fLaC" + bytes(100), "corrupt"),
        (b"OggS" + bytes(23), "corrupt"),
        (b"<!DOCTYPE html><html></html>" * 20, "format_not_allowed"),
        (bytes(range(256)) * 8, "unidentified"),
    ],
)
def test_what_is_no_sound(data: bytes, reason: str) -> None:
    assert rejected(data).reason == reason


def test_another_format_is_not_allowed() -> None:
    file = io.BytesIO()
    soundfile.write(file, chirp(8_000, 0.1), 8_000, format="AIFF")
    assert rejected(file.getvalue()).reason == "format_not_allowed"


def test_a_silent_film_has_no_sound() -> None:
    assert rejected(default_video("mp4")).reason == "no_stream"


@pytest.mark.parametrize("kind", ["wav", "flac", "m4a"])
def test_a_part_is_that_part(kind: str) -> None:
    data = sound_file(kind, chirp(16_000, 4.0), 16_000)
    whole = read(data).samples
    sound = open_sound(MemoryBytes(data), Limits(), DecodeOptions(), part_us=(1_000_000, 2_500_000))
    wave = read_waveform(sound, start_us=1_000_000)
    assert wave.start_us == 1_000_000
    assert np.array_equal(wave.samples, whole[16_000:40_000])


def test_the_header_says_whether_parts_are_exact_and_cheap() -> None:
    headers = [
        open_sound(MemoryBytes(sound_file(kind, chirp(16_000, 1.0), 16_000)), Limits(), DecodeOptions()).header
        for kind in ("wav", "flac", "mp3")
    ]
    assert [header.is_seekable for header in headers] == [True, True, False]
    assert headers[0].declared_seconds == 1.0


def soundtrack(data: bytes, origin_seconds: Fraction) -> OpenSound:
    return open_soundtrack(MemoryBytes(data), Limits(), DecodeOptions(), origin_seconds=origin_seconds)


def test_a_soundtrack_starts_with_the_picture() -> None:
    data = video_file("mkv", sound=chirp(16_000, 2.0))
    whole, late, early = (read_waveform(soundtrack(data, Fraction(origin, 2))).samples for origin in (0, 1, -1))
    assert np.array_equal(late, whole[8_000:])
    assert np.array_equal(early[:8_000], np.zeros(8_000))
    assert np.array_equal(early[8_000:], whole)


VERDICTS = {"used", *RejectReason} - TRANSIENT_REASONS - {RejectReason.UNKNOWN}


def fate(data: bytes) -> str:
    try:
        return "used" if len(read(data).samples) else "nothing"
    except Reject as reject:
        return reject.reason


@settings(max_examples=40)
@given(kind=st.sampled_from(SOUND_KINDS), data=st.data())
def test_damage_is_a_reject_or_a_sound(kind: str, data: st.DataObject) -> None:
    whole = bytearray(sound_file(kind, chirp(16_000, 0.3), 16_000))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert fate(bytes(whole[: data.draw(st.integers(1, len(whole)))])) in VERDICTS


@pytest.mark.real_media
@pytest.mark.parametrize(
    ("archive", "num_files"),
    [("librispeech", 32), ("longform_mixed", 22), ("spoken_digits_fsdd", 1_000)],
)
def test_real_sound_is_heard(archive: str, num_files: int) -> None:
    waves = [read(data) for data in real_media(f"audio/{archive}.tar.xz").values()]
    assert len(waves) == num_files
    assert all(len(wave.samples) for wave in waves)


#: Sound in an allowed format that libraries decode without a complaint, and that is rejected all the same.
EXPECTED_REJECTS = {
    "mutagen/apev2-lyricsv2.mp3": "truncated",  # 2 s of the 211 s in its table
    "mutagen/vbri.mp3": "truncated",  # 0.4 s of 222 s
    "mediafile/emptylist.mp3": "truncated",  # 1.1 s of 217 s
    "fuzz_strongcourage/ogg/481921.ogg": "corrupt",  # a page fails its checksum
    "uncommon/02 - increasing number of channels.flac": "unsupported_feature",
    "uncommon/10 - file starting at frame header.flac": "format_not_allowed",  # no FLAC file: a bare stream
}
FORMATS = ("MP3", "FLAC", "OGG", "WAV", "WAVEX", "mov,mp4,m4a,3gp,3g2,mj2", "ogg", "mp3", "aac", "flac")


@pytest.mark.real_media
def test_broken_sound_gets_a_verdict() -> None:
    files = real_media("broken/audio_broken.tar.xz")
    rows = {row["path"]: row for row in real_labels("broken/audio_broken.labels.csv")}
    fates = {path: fate(files[path]) for path in rows}
    assert len(fates) == 213
    assert set(fates.values()) <= VERDICTS
    surprises = {}
    for path, row in rows.items():
        if row["result"] == "ok" and fates[path] != ("used" if row["fmt"] in FORMATS else "format_not_allowed"):
            surprises[path] = fates[path]
    expected_surprises = {
        path: reason for path in surprises for name, reason in EXPECTED_REJECTS.items() if path.endswith(name)
    }
    assert surprises == expected_surprises
