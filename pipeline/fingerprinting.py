"""Taking the fingerprints of sources, and finding the copies among them, whatever the medium."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from .config import Recipe
from .decode.fence import Fence
from .errors import Reject
from .fingerprint import audio, image, text, video
from .fingerprint_store import FINGERPRINTS_SCHEMA
from .grouping import Copies
from .inventory import OpenSource, SourceReader
from .near_duplicates import Pairs, components, exact_pairs
from .rng import sha256_hex
from .serial_arrow import sorted_by
from .storage import Store
from .task import Modality


@dataclass(frozen=True)
class _Medium:
    """How a medium's fingerprints are taken (None: nothing to tell the source by) and compared."""

    kind: str
    take: Callable[[OpenSource, Fence], bytes | None]
    copies: Callable[[list[bytes]], Pairs]


def _of_picture(source: OpenSource, fence: Fence) -> bytes:
    return image.fingerprint(fence.image(source.bytes(), source.source_key))


def _copies_of_pictures(data: list[bytes]) -> Pairs:
    return image.copies(np.frombuffer(b"".join(data), np.uint8).reshape(len(data), image.NUM_BYTES))


def _of_sound(source: OpenSource, fence: Fence) -> bytes | None:
    return audio.fingerprint(fence.audio(source.ranged(), source.source_key))


def _of_video(source: OpenSource, fence: Fence) -> bytes | None:
    opened = fence.video(source.ranged())
    (clip,) = opened.clips([video.request(opened.info)])
    return video.fingerprint(opened.info, clip)


def _of_text(source: OpenSource, fence: Fence) -> bytes | None:
    return text.fingerprint(document.text for document in fence.documents(source.ranged(), source.source_key))


_MEDIA: Mapping[str, _Medium] = {
    Modality.IMAGE: _Medium(image.KIND, _of_picture, _copies_of_pictures),
    Modality.AUDIO: _Medium(audio.KIND, _of_sound, audio.copies),
    Modality.VIDEO: _Medium(video.KIND, _of_video, video.copies),
    Modality.VIDEO_AUDIO: _Medium(video.KIND, _of_video, video.copies),
    Modality.TEXT: _Medium(text.KIND, _of_text, text.copies),
}


def kind_of(modality: str, recipe: Recipe) -> str:
    """Return the kind of the fingerprints of a medium: another kind is another fingerprint, taken anew."""
    options = recipe.model_dump(mode="json", include={"limits", "decode", "decoders"})
    return f"{_MEDIA[modality].kind}@{sha256_hex(repr(sorted(options.items())).encode())[:8]}"


def take_fingerprints(sources: pa.Table, modality: str, kind: str, inputs: Store, fence: Fence) -> pa.Table:
    """Return the fingerprints of `sources` (inventory columns) as FINGERPRINTS_SCHEMA.

    Left out is what may be otherwise next time: sources that are gone or have changed, transient rejects.

    Raises:
        StoreError: the store failed beyond its retry budget.
    """
    rows = []
    listed = {row["source_key"]: row for row in sources.select(["source_key", "etag", "num_bytes"]).to_pylist()}
    with SourceReader(inputs, sources) as reader:
        for source in reader:
            found = _take(source, _MEDIA[modality], fence)
            if found is not None:
                rows.append({**listed[source.source_key], **found, "kind": kind})
    return pa.Table.from_pylist(rows, FINGERPRINTS_SCHEMA)


def _take(source: OpenSource, medium: _Medium, fence: Fence) -> dict[str, Any] | None:
    if source.error is not None:
        return None
    sha256 = "" if source.data is None else sha256_hex(source.data)
    try:
        return {"sha256": sha256, "fingerprint": medium.take(source, fence)}
    except Reject as verdict:
        return {"sha256": sha256, "fingerprint": None} if verdict.is_permanent else None


def find_copies(fingerprints: pa.Table, modality: str) -> Copies:
    """Return which sources are copies of one another (FINGERPRINTS_SCHEMA in, each source_key once)."""
    table = sorted_by(fingerprints, "source_key")
    keys = table["source_key"].to_pylist()
    data = table["fingerprint"].to_pylist()
    taken = np.array([row for row, value in enumerate(data) if value is not None], np.int64)
    pairs = np.array(list(exact_pairs(table["sha256"].to_pylist())), np.int64).reshape(-1, 2)
    if len(taken) > 1:
        pairs = np.concatenate([pairs, taken[_MEDIA[modality].copies([data[row] for row in taken])]])
    neighbours: dict[str, list[str]] = defaultdict(list)
    for first, second in np.unique(np.sort(pairs, axis=1), axis=0).tolist():
        neighbours[keys[first]].append(keys[second])
        neighbours[keys[second]].append(keys[first])
    members: dict[int, list[str]] = defaultdict(list)
    for row, name in enumerate(components(len(keys), pairs).tolist()):
        members[name].append(keys[row])
    return Copies([group for group in members.values() if len(group) > 1], dict(neighbours), len(keys))
