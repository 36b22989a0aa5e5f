"""Mutated files of every family and mutated bookkeeping, for a bounded time: a value or a typed verdict, never more.

UNLABELED_FUZZ_SECONDS lengthens every loop, UNLABELED_FUZZ_SEED starts elsewhere; a failure names seed and step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import CorruptData, NotFound, Reject, RejectReason
from unlabeled.pipeline.items import ClipRequest
from unlabeled.pipeline.ledger import Receipt, checked_json, receipt_key, with_digest
from unlabeled.pipeline.manifest import Manifest, manifest_key
from unlabeled.pipeline.plan_store import load_plan
from unlabeled.pipeline.storage import Store

from tests import planted
from tests.broken_media import animated, encoded, jpeg, picture, sixteen_bit
from tests.media_files import chirp, default_video, sound_file

SECONDS = float(os.environ.get("UNLABELED_FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("UNLABELED_FUZZ_SEED", "0"))
#: No wild input may be worth more than this of the child's time.
LIMITS = Limits(max_pixels=4_000_000, max_seconds=600)
INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
TEXT = '{"text": "A line of words.", "n": 1}\n{"text": "Und noch eine, mit Umlauten: äöü."}\n' * 20


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Return `data` with a few bits flipped, bytes set, a stretch cut, doubled or moved, or its end lost."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        if not out:
            break
        at, kind = int(rng.integers(len(out))), int(rng.integers(6))
        length = int(rng.integers(1, 64))
        if kind == 0:
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            out[at : at + 4] = bytes([INTERESTING[int(rng.integers(len(INTERESTING)))]] * 4)
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = out[at : at + length]
        elif kind == 4:
            out[at : at + length] = rng.integers(0, 256, length, np.uint8).tobytes()
        else:
            del out[max(at, len(out) // 4) :]
    return bytes(out)


def mutations(sources: list[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield (where in the sequence, mutated file) until the time is over."""
    deadline = time.monotonic() + SECONDS
    step = 0
    while time.monotonic() < deadline:
        rng = np.random.default_rng([SEED, step])
        yield f"seed {SEED}, step {step}", mutated(sources[step % len(sources)], rng)
        step += 1


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence(LIMITS, DecodeOptions()) as opened:
        yield opened


def decode_image(fence: Fence, data: bytes) -> None:
    item = fence.image(data)
    crop = item.crop((0, 0, min(8, item.width_px), min(8, item.height_px)), 4, 4)
    assert crop.shape == (4, 4, 3)


def decode_audio(fence: Fence, data: bytes) -> None:
    item = fence.audio(data)
    assert item.samples.dtype == np.int16


def decode_video(fence: Fence, data: bytes) -> None:
    video = fence.video(data)
    side = min(video.info.width_px, video.info.height_px, 16)
    request = ClipRequest(targets_us=(0, 200_000), crop_box=(0, 0, side, side), width_px=side, height_px=side)
    (clip,) = video.clips([request])
    assert clip.frames.shape == (2, side, side, 3)


def decode_text(fence: Fence, data: bytes) -> None:
    for document in fence.documents(data, "a.jsonl"):
        assert document.text.isprintable() or document.text


FAMILIES: dict[str, tuple[Callable[[Fence, bytes], None], Callable[[], list[bytes]]]] = {
    "image": (
        decode_image,
        lambda: [
            jpeg(),
            jpeg(progressive=True),
            sixteen_bit(),
            animated(),
            encoded(picture(), "PNG"),
            encoded(picture(), "WEBP"),
            encoded(picture(), "TIFF"),
            encoded(picture(), "BMP"),
        ],
    ),
    "audio": (
        decode_audio,
        lambda: [sound_file(kind, chirp(16000, 0.5), 16000) for kind in ("wav", "flac", "ogg", "mp3", "m4a")],
    ),
    "video": (decode_video, lambda: [default_video(kind) for kind in ("mp4", "mkv", "avi", "ts")]),
    "text": (decode_text, lambda: [TEXT.encode(), TEXT.encode("utf-16"), TEXT.encode("latin-1")]),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_any_bytes_are_decoded_or_get_a_verdict(fence: Fence, family: str) -> None:
    decode, sources = FAMILIES[family]
    num_tried = 0
    for where, data in mutations(sources()):
        verdict = None
        try:
            decode(fence, data)
        except Reject as error:
            verdict = error
        if verdict is not None:
            assert verdict.reason in RejectReason, where
            assert verdict.reason is not RejectReason.UNKNOWN, f"{where}: {verdict.message}"
        num_tried += 1
    assert num_tried > 5


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    return planted.build("image_rotation", planted.photographs(folder / "in"), folder / "out", side_px=32)


def only_key(store: Store, prefix: str) -> str:
    return next(info.key for page in store.list(prefix) for info in page if info.key.endswith(".json"))


def readers(store: Store) -> dict[str, tuple[str, Callable[[Store, str], object]]]:
    plan = only_key(store, "_plans").removeprefix("_plans/").removesuffix(".json")
    receipt = only_key(store, "_receipts")
    return {
        "manifest": (manifest_key(1), lambda of, key: Manifest.from_json(of.get(key), key)),
        "receipt": (receipt, lambda of, key: Receipt.from_json(of.get(key), key)),
        "plan": (f"_plans/{plan}.json", lambda of, _: load_plan(of, plan)),
    }


@pytest.mark.parametrize("is_resealed", [False, True])
@pytest.mark.parametrize("kind", ["manifest", "receipt", "plan"])
def test_damaged_bookkeeping_is_refused_by_name(
    dataset: Store, tmp_path: Path, kind: str, *, is_resealed: bool
) -> None:
    """Resealed: by someone who knows the format, so that only the fields' types can tell."""
    key, read = readers(dataset)[kind]
    data = dataset.get(key)
    other = Store.open(str(tmp_path))
    for where, changed in mutations([data]):
        if changed == data:
            continue
        other.put(key, resealed(data, where) if is_resealed else changed)
        message = None
        try:
            # Some mutations say the same in other words (a key twice, 0.50 for 0.5).
            found = read(other, key)
            assert is_resealed or to_text(found) == to_text(read(dataset, key)), where
        except CorruptData as error:
            message = str(error)
        except NotFound:
            # A plan whose digest fits (resealed, or the same in other words) names tables that are not in this store.
            message = key if kind == "plan" else ""
        assert message is None or key in message, where


def to_text(found: object) -> str:
    return repr(getattr(found, "header", found))


def resealed(data: bytes, where: str) -> bytes:
    """Return the file with one field of another type, or without it, and a digest that fits."""
    body = checked_json(data, "x")
    rng = np.random.default_rng([SEED, len(where), *where.encode()])
    name = sorted(body)[int(rng.integers(len(body)))]
    values = (None, 5, "x", [], {}, [["x"]], {"x": 1}, -1.5)
    choice = int(rng.integers(len(values) + 1))
    if choice == len(values):
        del body[name]
    else:
        body[name] = values[choice]
    return with_digest({"format_version": 1, **body})


def test_a_receipt_stands_under_its_shard(dataset: Store) -> None:
    key = only_key(dataset, "_receipts")
    assert receipt_key(Receipt.from_json(dataset.get(key), key).shard_id) == key
