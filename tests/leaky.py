"""Examples made as one should not make them: each generator plants one leak, and can be asked not to."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image
from unlabeled.pipeline.audit.catalogue import FAMILIES
from unlabeled.pipeline.audit.judge import judge_families
from unlabeled.pipeline.audit.measure import Spec, measure
from unlabeled.pipeline.audit.report import FamilyReport
from unlabeled.pipeline.encode import encode_values
from unlabeled.pipeline.features import Features, audio, class_label, image, with_envelope
from unlabeled.pipeline.task import Objective
from unlabeled.pipeline.transforms import quarter_turn

from tests import planted, samples
from tests.media_files import video_file

Made = Iterator[tuple[str, int, dict[str, Any]]]
Capture = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
TURNED = Features.of(image=image("a turned picture"), label=class_label(("0", "90", "180", "270"), "turns"))
BESIDE = Features.of(
    patch_a=image("a patch", encoding="png"),
    patch_b=image("its neighbour", encoding="png"),
    label=class_label(("right", "below"), "where patch_b lies"),
)
FOLLOWS = Features.of(
    clip_a=audio("a clip", sample_rate_hz=8000),
    clip_b=audio("another", sample_rate_hz=8000),
    label=class_label(("no", "yes"), "whether b follows a"),
)
SHOWN = Features.of(frames=image("frames", shape=(12,)), label=class_label(("no", "yes"), "of the clip"))
CLIPS = Features.of(clips=image("clips", shape=(2, 4)), label=class_label(("ab", "ba"), "order of the clips"))
ENVELOPE = {"source_codec": "x", "source_exif_orientation": 0, "source_truncated": False, "segment": 0}


def audited(
    features: Features, made: Iterable[tuple[str, int, Mapping[str, Any]]], looked_at: Collection[str]
) -> dict[str, FamilyReport]:
    """Return the audit of examples (group, draw, values) by family, as if they stood in one shard in this order.

    Of the families that look at one example, only those `looked_at` are probed: it takes a second each.
    """
    rows = rows_of(features, made)
    spec = Spec(with_envelope(features), Objective.CLASSIFICATION)
    table = measure(spec, rows, 0, len(rows))
    for name in {one.name for one in FAMILIES} - set(looked_at):
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array([[]] * len(table), field.type))
    return {one.family: one for one in judge_families(table, spec, 0)}


def published(features: Features, made: Iterable[tuple[str, int, Mapping[str, Any]]], folder: Path) -> str:
    """Publish examples (group, draw, values) as a dataset under a folder, one shard in this order; return its URI."""
    store = planted.build("image_rotation", planted.photographs(folder / "in", 1), folder / "out", side_px=32)
    whole = with_envelope(features)
    rows = pa.Table.from_pylist(rows_of(features, made), whole.arrow_schema())
    planted.replace_rows(store, rows, folder, features=whole.to_json(), task="leaky")
    return store.uri


def rows_of(features: Features, made: Iterable[tuple[str, int, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return stored rows of examples (group, draw, values)."""
    whole = with_envelope(features)
    medium = "video" if any(feature.kind == "image" and feature.shape for _, feature in features) else "image"
    rows = []
    for group, draw, values in made:
        keys = {"group_id": group, "source_key": group, "draw": draw, "source_num_bytes": 1000, "media_kind": medium}
        cells = encode_values(features, {name: values[name] for name in features.names})
        cells |= {name: values["as stored"] for name in ("image",) if "as stored" in values}
        rows.append({**dict.fromkeys(whole.names), **ENVELOPE, **keys, **cells})
    return rows


def _order(seed: int, num: int) -> list[int]:
    return [int(label) for label in np.random.default_rng([seed, 7]).permutation(num)]


def turned(
    num: int = 60,
    *,
    keeps_original: bool = False,
    turns_first: bool = False,
    in_order: bool = False,
    captured: Capture | None = None,
) -> Made:
    """Yield quarter turns: 0 degrees as the original JPEG, turned in place before the crop, or in label order.

    `captured`: what a camera or codec did to the upright picture.
    """
    for seed in range(num):
        picture = samples.photograph(seed, 128, 96)
        picture = picture if captured is None else captured(picture)
        for draw, label in enumerate(range(4) if in_order else _order(seed, 4)):
            pixels = _turned_in_place(picture, label) if turns_first else quarter_turn(picture[8:88, 24:104], label)
            values: dict[str, Any] = {"image": np.ascontiguousarray(pixels), "label": label}
            if keeps_original and label == 0:
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "JPEG", quality=80)
                values["as stored"] = {"bytes": file.getvalue(), "path": None}
            yield f"s{seed}", draw, values


def aberrant(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture as through a lens: red stands half a pixel to the right."""
    shifted = picture.astype(np.float32)
    shifted[:, 1:, 0] = 0.5 * (shifted[:, 1:, 0] + shifted[:, :-1, 0])
    return np.rint(shifted).astype(np.uint8)


def subsampled(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture after a JPEG whose chroma is halved across (4:2:2), as many cameras write it."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=92, subsampling="4:2:2")
    return np.asarray(Image.open(file).convert("RGB"))


def _turned_in_place(picture: NDArray[np.uint8], turns: int) -> NDArray[np.uint8]:
    """Return 80 x 80 px of a picture that was turned within its own frame: what it left is black."""
    whole = np.asarray(Image.fromarray(picture).rotate(90 * turns, expand=False))
    return whole[8:88, 8:88]


def beside(num: int = 150, *, gap_px: int) -> Made:
    """Yield two patches of a picture, one right of or below the other."""
    for seed in range(num):
        picture = samples.landscape(seed, 160, 160)
        for draw, label in enumerate(_order(seed, 2)):
            top, left = (int(at) for at in np.random.default_rng([seed, draw]).integers(0, 40, 2))
            step = 40 + gap_px
            down, right = (step, 0) if label else (0, step)
            yield (
                f"s{seed}",
                draw,
                {
                    "patch_a": picture[top : top + 40, left : left + 40],
                    "patch_b": picture[top + down : top + down + 40, left + right : left + right + 40],
                    "label": label,
                },
            )


def follows(num: int = 150, *, gap: int, is_levelled: bool, other: bool) -> Made:
    """Yield pairs of clips: neighbours with `gap` samples between, or far ones (of another recording if `other`)."""
    for seed in range(num):
        recording, foreign = (_recording(at) for at in (seed, seed + 1000))
        for draw, label in enumerate(_order(seed, 2)):
            rng = np.random.default_rng([seed, draw])
            start = int(rng.integers(0, 2000))
            begin = start + 2000 + gap if label else start + 9000
            second = (foreign if other and not label else recording)[begin : begin + 2000]
            clips = [recording[start : start + 2000], second]
            if is_levelled:
                clips = [0.05 * 10 ** rng.uniform(-0.3, 0.3) * one / np.sqrt(np.mean(one**2)) for one in clips]
            a, b = (np.clip(one, -1, 1).astype(np.float32) for one in clips)
            yield f"s{seed}", draw, {"clip_a": a, "clip_b": b, "label": label}


def _recording(seed: int) -> NDArray[np.float64]:
    """Return coloured noise at a level of its own, float64 [16000]."""
    rng = np.random.default_rng([seed, 3])
    sound = np.convolve(rng.normal(0, 1, 16000), np.hanning(16), "same")
    return 0.05 * 10 ** rng.uniform(-0.6, 0.6) * sound / sound.std()


def encoded(seed: int, num_frames: int = 48) -> list[NDArray[np.uint8]]:
    """Return frames of a pan as a strongly compressed stream shows them: sharp after each key frame, then less so."""
    rng = np.random.default_rng(seed)
    wide = samples.landscape(seed, 400, 96).astype(np.float32) + rng.normal(0, 25, (96, 400, 1))
    frames = [np.clip(wide[:, 5 * n : 5 * n + 128], 0, 255).astype(np.uint8) for n in range(num_frames)]
    options = {"preset": "veryfast", "crf": "38", "x264-params": "scenecut=0"}
    data = video_file("mp4", frames, codec_options=options, gop_frames=12, num_b_frames=0)
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def played(num: int = 60, *, encode_first: bool) -> Made:
    """Yield clips forward and backward, of a stream that was encoded before they were reversed, or of sharp frames."""
    for seed in range(num):
        if encode_first:
            frames = encoded(seed)
        else:
            wide = samples.landscape(seed, 400, 96)
            frames = [np.ascontiguousarray(wide[:, 5 * n : 5 * n + 128]) for n in range(48)]
        for draw, label in enumerate(_order(seed, 2)):
            start = int(np.random.default_rng([seed, draw]).integers(0, 36))
            shown = frames[start : start + 12]
            yield f"s{seed}", draw, {"frames": shown[::-1] if label else shown, "label": label}


def sped(num: int = 60, *, wraps: bool) -> Made:
    """Yield clips at one and two times the speed; where they wrap, the fast one begins anew in a short source."""
    for seed in range(num):
        wide = samples.landscape(seed, 400, 64)
        for draw, label in enumerate(_order(seed, 2)):
            places = [(1 + label) * step % (16 if wraps else 1000) for step in range(12)]
            speed = np.random.default_rng([seed, draw]).uniform(2, 8)
            lefts = [int(speed * place) for place in places]
            shown = [np.ascontiguousarray(wide[:, left : left + 64]) for left in lefts]
            yield f"s{seed}", draw, {"frames": shown, "label": label}


def clipped(num: int = 80, *, gap_frames: int) -> Made:
    """Yield two clips of four frames in either order, with `gap_frames` between."""
    for seed in range(num):
        wide = samples.landscape(seed, 400, 64)
        for draw, label in enumerate(_order(seed, 2)):
            second = 4 + gap_frames
            frames = [
                np.ascontiguousarray(wide[:, 6 * n : 6 * n + 64]) for n in (*range(4), *range(second, second + 4))
            ]
            clips = [frames[:4], frames[4:]]
            yield f"s{seed}", draw, {"clips": clips[::-1] if label else clips, "label": label}
