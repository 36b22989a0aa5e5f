"""Media through the fence: equal in every byte to what the decoders give in this process."""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from unlabeled.pipeline.decode.audio import open_sound, read_waveform
from unlabeled.pipeline.decode.bytes_source import MemoryBytes
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.image import CODECS, decode_image
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.decode.video import open_video
from unlabeled.pipeline.errors import Reject, RejectReason
from unlabeled.pipeline.items import ClipRequest

from tests import broken_media, media_files

LIMITS, STRICT = Limits(), DecodeOptions()


@pytest.mark.parametrize("kind", sorted(broken_media.SOUND))
def test_images(fence: Fence, kind: str) -> None:
    data = broken_media.SOUND[kind]()
    ours, theirs = decode_image(data, LIMITS, STRICT), fence.image(data)
    assert (theirs.codec, theirs.exif_orientation, theirs.is_truncated) == (kind, 0, False)
    assert np.array_equal(theirs.crop((3, 5, 40, 30), 16, 12), ours.crop((3, 5, 40, 30), 16, 12))
    assert np.array_equal(theirs.pixels, ours.pixels)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "m4a", "opus"])
def test_sounds(fence: Fence, kind: str) -> None:
    data = media_files.sound_file(kind, media_files.chirp(48_000, 1.5, 2), 48_000)
    ours, theirs = read_waveform(open_sound(MemoryBytes(data), LIMITS, STRICT)), fence.audio(data)
    assert np.array_equal(theirs.samples, ours.samples)
    assert not theirs.samples.flags.writeable
    for name in ("codec", "sample_rate_hz", "source_sample_rate_hz", "num_channels", "is_truncated", "start_us"):
        assert getattr(theirs, name) == getattr(ours, name)


def test_a_part_of_a_sound(fence: Fence) -> None:
    data = media_files.sound_file("flac", media_files.chirp(16_000, 3), 16_000)
    part = fence.audio(data, part_us=(1_000_000, 2_000_000))
    assert part.start_us == 1_000_000
    assert np.array_equal(part.samples, fence.audio(data).samples[16_000:32_000])


@pytest.mark.parametrize("kind", ["mp4", "mkv", "webm"])
def test_videos(fence: Fence, kind: str) -> None:
    data = media_files.default_video(kind)
    requests = [
        ClipRequest(targets_us=(0, 400_000, 1_200_000), crop_box=(0, 0, 96, 64), width_px=48, height_px=32),
        ClipRequest(targets_us=(800_000,), crop_box=(8, 8, 32, 32), width_px=32, height_px=32),
    ]
    ours, theirs = open_video(MemoryBytes(data), LIMITS, STRICT), fence.video(data)
    assert theirs.info == ours.info
    for one, other in zip(ours.clips(requests), theirs.clips(requests), strict=True):
        assert other.request == one.request
        assert all(np.array_equal(getattr(one, a), getattr(other, a)) for a in ("frames", "pts_us", "pict_types"))
    assert theirs.counters["num_frames_used"] == 4
    assert theirs.clips([]) == []


def test_a_silent_video_has_no_sound(fence: Fence) -> None:
    with pytest.raises(Reject) as caught:
        fence.video(media_files.default_video("mp4")).audio()
    assert caught.value.reason is RejectReason.NO_STREAM


def test_documents(fence: Fence) -> None:
    lines = "".join(f'{{"text": "Satz {number} ‰"}}\n' for number in range(30_000)).encode()
    documents = list(fence.documents(lines, "folder/A.JSONL"))
    assert len(documents) == 30_000
    assert documents[7].text == "Satz 7 ‰"
    assert lines[documents[7].start_byte :].startswith(b'{"text": "Satz 7 ')
    (whole,) = fence.documents(b"one\r\ntwo\n", "a.txt")
    assert whole.text == "one\ntwo"


def test_text_that_is_none_is_a_reject(fence: Fence) -> None:
    with pytest.raises(Reject) as caught:
        list(fence.documents(b"abc\xff", "a.txt"))
    assert (caught.value.reason, caught.value.offset_bytes) == (RejectReason.BAD_ENCODING, 3)


def test_options_reach_the_child() -> None:
    cut = broken_media.cut(broken_media.jpeg())
    with Fence(options=DecodeOptions(truncated="decode", audio_rate_hz=8000)) as fence:
        assert fence.image(cut).is_truncated
        sound = fence.audio(media_files.sound_file("wav", media_files.chirp(16_000, 1), 16_000))
        assert (sound.sample_rate_hz, len(sound.samples)) == (8000, 8000)


def test_a_busy_machine_gives_the_same_bytes(fence: Fence) -> None:
    data = broken_media.jpeg(500, 375)
    expected = fence.image(data).crop((0, 0, 300, 300), 224, 224)
    load = [
        multiprocessing.get_context("spawn").Process(target=_burn, daemon=True) for _ in range(os.cpu_count() or 1)
    ]
    for process in load:
        process.start()
    try:
        for _ in range(20):
            assert np.array_equal(fence.image(data).crop((0, 0, 300, 300), 224, 224), expected)
    finally:
        for process in load:
            process.kill()
            process.join()


def _burn() -> None:
    while True:
        sum(range(1000))


def real_images(name: str) -> list[tuple[dict[str, str], bytes]]:
    """Return (row of the csv, bytes) of a set of real damaged images; skips where there are none."""
    folder = os.environ.get("UNLABELED_MEDIA")
    if not folder:
        pytest.skip("UNLABELED_MEDIA names no folder")
    table = (Path(folder) / "broken" / f"{name}.labels.csv").read_text()
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(table))}
    files = media_files.real_media(f"broken/{name}.tar.xz")
    found = [(rows.get(path) or rows[path.split("/", 1)[1]], data) for path, data in files.items()]
    assert len(found) == len(rows)
    return found


#: Files whose csv says `ok`, and which Pillow refuses when it loads them, but not when it is asked again.
REFUSED_ONCE = 23


@pytest.mark.real_media
@pytest.mark.parametrize("truncated", ["reject", "decode"])
def test_real_damaged_images_neither_crash_nor_stay_unexplained(truncated: str) -> None:
    verdicts: Counter[tuple[str, str]] = Counter()
    surprises = []
    with Fence(options=DecodeOptions(truncated=truncated)) as fence:  # type: ignore[arg-type]
        for row, data in real_images("images_broken"):
            try:
                image = fence.image(data)
                side_px = min(8, image.width_px, image.height_px)
                image.crop((0, 0, side_px, side_px), 8, 8)
                verdict = "ok"
            except Reject as reject:
                verdict = reject.reason.value
            verdicts[row["result"], verdict] += 1
            is_allowed = row["fmt"].lower() in CODECS | {"mpo"}
            if row["result"] == "ok" and verdict != ("ok" if is_allowed else "format_not_allowed"):
                surprises.append((row["path"], verdict))
        assert fence.num_children == 1
        assert fence.peak_rss_bytes < 400 << 20
    assert sum(verdicts.values()) > 1500
    assert not [key for key in verdicts if key[1].startswith("decoder_") or key[1] == "unknown"]
    assert len(surprises) <= REFUSED_ONCE, surprises


@pytest.mark.real_media
def test_real_orientations_show_one_scene(fence: Fence) -> None:
    pictures = []
    for row, data in real_images("exif_orientation"):
        image = fence.image(data)
        assert image.exif_orientation == int(row["orientation"])
        pictures.append(image.crop((0, 0, 1800, 1200), 180, 120).astype(np.int16))
    assert all(np.abs(one - pictures[0]).mean() < 8 for one in pictures)
