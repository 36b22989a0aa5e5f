"""Predict whether clip b follows clip a in one recording, within a gap of 20 to 120 ms.

Misra, Zitnick, Hebert: Shuffle and Learn, ECCV 2016 (arXiv:1603.08561), asked whether frames of one video stand in
order, rather than whether they are of one video; this is the same question for sound.

Positives and negatives are 1:1. Shortcuts closed here: a gap hides the continuity of samples and phase; DC is removed,
each clip is equalised and levelled at random on its own; the first and last 100 ms (fades, encoder priming and
padding) are never used; negatives are of the same recording, at least `far_clips` clip lengths from start to start in
either direction. Examples come in quartets of two places: (a1, b1) and (a2, b2) are positives, and the negatives are
the same four clips crossed over, (a1, b2) and (a2, b1): no property of one clip, nor where it lies, tells the label.

`negatives=both` makes half of the negatives end in another recording's clip, as the question is often put, and
`other_recording` all of them. Then the label can be told from the recorder: a probe on noise floor and spectral tilt
alone scores about 0.2 and 0.45 (of 1; same_recording: under 0.1).

What is left at the border is sound that does go on, a vowel or a held note: correlating the nearest 50 ms scores 0.2.
`min_gap_seconds=0.1 max_gap_seconds=0.5` brings that below 0.1, too, where more than texture is to be learnt.

Short recordings (spoken digits, key strokes): `clip_seconds=0.05 max_gap_seconds=0.03 trim_seconds=0.01` needs 0.38 s
instead of 6.2 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..clip_pairs import NUM_TRIES, ClipPairTask, gap_between, stands_in
from ..errors import ConfigError, Filtered
from ..features import Features, class_label, value
from ..items import Waveform
from ..rng import ItemRng
from ..task import Example, Modality, Objective, PartneredTask, setting

CLASSES = ("not_adjacent", "adjacent")
_MAX_LENT_QUARTETS = 4


@dataclass(frozen=True)
class Place:
    """Two clips that are neighbours: their first samples."""

    start_a: int
    start_b: int


@dataclass(frozen=True)
class Lent:
    """A clip that a recording lends to others: int16 [num_samples], its first sample, and whose it is.

    rank: 0 for the b of an earlier place, 1 for the b of a later one; it replaces only its like.
    """

    samples: NDArray[np.int16]
    start: int
    source_key: str
    rank: int


@dataclass(frozen=True)
class Pair:
    """One example to make: a of this recording, b of it too, or lent."""

    start_a: int
    start_b: int
    kind: Literal["none", "same_recording_far", "other_recording"]
    lent: Lent | None = None


@dataclass(frozen=True)
class AudioClipAdjacency(ClipPairTask, PartneredTask[Waveform]):
    """Predict whether one clip of sound follows another."""

    version = "1"
    modality = Modality.AUDIO
    objective = Objective.CLASSIFICATION
    paper = (
        "after Misra, Zitnick, Hebert: Shuffle and Learn: Unsupervised Learning using Temporal Order Verification, "
        "ECCV 2016 (arXiv:1603.08561)"
    )

    min_gap_seconds: float = setting(0.02, "shortest gap between neighbours", unit="s", at_least=0, at_most=10)
    max_gap_seconds: float = setting(0.12, "longest gap between neighbours", unit="s", at_least=0, at_most=10)
    far_clips: float = setting(
        3.0, "least distance of a far clip, start to start, in clip lengths", at_least=1, at_most=1000
    )
    negatives: Literal["same_recording", "both", "other_recording"] = setting(
        "same_recording", "what negatives end in: a far clip, half of each kind, or another recording's clip"
    )
    max_examples: int = setting(20, "most examples of a recording, spread over it", at_least=4, multiple_of=4)

    def __post_init__(self) -> None:
        """Check that no far clip can be a neighbour."""
        super().__post_init__()
        if self.min_gap_seconds > self.max_gap_seconds:
            raise ConfigError(f"`min_gap_seconds` must be at most `max_gap_seconds`, but is {self.min_gap_seconds}.")
        if self.far_clips * self.clip_seconds <= self.clip_seconds + self.max_gap_seconds:
            raise ConfigError(
                f"`far_clips` must be more than {1 + self.max_gap_seconds / self.clip_seconds:.3g}: nearer clips are "
                f"neighbours; but is {self.far_clips}."
            )

    @property
    def num_partners(self) -> int:
        """Two, where negatives end in other recordings' clips."""
        return 0 if self.negatives == "same_recording" else 2

    def features(self) -> Features:
        """Return both clips, the label, where they lie, and how they were conditioned."""
        return Features.of(
            label=class_label(CLASSES, "1 where clip_b follows clip_a within the longest gap"),
            **self.pair_features(),
            gap_samples=value(
                "int64", "parameter", "between the two clips; -1 where they are of two recordings", unit="samples"
            ),
            negative_kind=value("string", "parameter", "same_recording_far, other_recording, or none"),
            partner_key=value("string", "parameter", "source_key of clip_b where it is of another recording"),
        )

    def offer(self, item: Waveform, rng: ItemRng) -> tuple[Lent, ...]:
        """Return up to 8 clips of the recording, two a quartet.

        Raises:
            Filtered: `too_short`, `no_usable_clip`, or `nothing_to_lend` where no negative is lent.
        """
        if self.num_partners == 0:
            raise Filtered("nothing_to_lend", "negatives are of the same recording")
        return tuple(
            Lent(item.samples[place.start_b :][: self.clip_samples].copy(), place.start_b, rng.source_key, rank)
            for places in self._quartets(item, rng)[:_MAX_LENT_QUARTETS]
            for rank, place in enumerate(places)
        )

    def examples(self, item: Waveform, rng: ItemRng, partners: Sequence[Any] = ()) -> Iterator[Example]:
        """Yield the quartets' examples in keyed order: as many of either label.

        Raises:
            Filtered: `too_short`, `no_usable_clip` (silent or clipped wherever looked) or `no_partner`.
            ConfigError: the sound has another rate than `sample_rate_hz`.
        """
        if self.num_partners and not partners:
            raise Filtered("no_partner", "no other recording lends a clip")
        generator = rng.item("pairs")
        pairs: list[Pair] = []
        for number, places in enumerate(self._quartets(item, rng)):
            lender = partners[number % len(partners)] if self.num_partners else ()
            pairs.extend(self._pairs(places, lender, generator))
        order = rng.order(len(pairs))
        for draw in range(len(pairs)):
            yield Example(draw, self._values(item, pairs[order[draw]], rng.draw(draw)))

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return four examples a quartet, FLAC of 1.1 bytes a sample; sources are taken for 16-bit mono."""
        quartets = min(self.max_examples // 4, max(1, source_num_bytes // 2 // self._two_way_room))
        return int(4 * quartets * (600 + 2 * 1.1 * self.clip_samples))

    def rederive(self, row: Mapping[str, Any], item: Waveform) -> Mapping[str, Any]:
        """Return label, kind and gap from what stands in `item` at the places that the row gives."""
        if not stands_in(item, row, "a"):
            return {"label": -1, "negative_kind": "clip_a is not in the recording"}
        if not stands_in(item, row, "b"):
            return {"label": 0, "negative_kind": "other_recording", "gap_samples": -1}
        gap = gap_between(row)
        is_adjacent = row["start_b"] > row["start_a"] and self._gaps[0] <= gap <= self._gaps[1]
        kind = "none" if is_adjacent else "same_recording_far"
        return {"label": int(is_adjacent), "negative_kind": kind, "gap_samples": gap}

    @property
    def _gaps(self) -> tuple[int, int]:
        return round(self.min_gap_seconds * self.sample_rate_hz), round(self.max_gap_seconds * self.sample_rate_hz)

    @property
    def _far(self) -> int:
        return int(np.ceil(self.far_clips * self.clip_samples))

    @property
    def _two_way_room(self) -> int:
        """Samples in which two places can always be crossed over both ways."""
        return self._far + 3 * self.clip_samples + 2 * self._gaps[1]

    def _quartets(self, item: Waveform, rng: ItemRng) -> list[tuple[Place, Place]]:
        """Return pairs of places, the earlier one first, spread over the recording."""
        needed = self._two_way_room
        if self.negatives != "same_recording":
            needed = (
                self._far + self.clip_samples if self.negatives == "both" else 2 * self.clip_samples + self._gaps[1]
            )
        first, room = self.usable_range(item, needed)
        generator = rng.item("places")
        window = min(room, 2 * self._two_way_room)
        num_quartets = min(self.max_examples // 4, max(1, room // self._two_way_room))
        quartets = []
        for number in range(num_quartets):
            for _ in range(NUM_TRIES):
                begin = first + int((room - window) * (number + generator.random()) / num_quartets)
                places = self._places(begin, window, generator)
                if self.is_usable(item, *(start for place in places for start in (place.start_a, place.start_b))):
                    quartets.append(places)
                    break
        if not quartets:
            raise Filtered("no_usable_clip", "silent or clipped wherever looked")
        return quartets

    def _places(self, begin: int, window: int, generator: np.random.Generator) -> tuple[Place, Place]:
        """Return two places in [begin, begin + window), as far apart as the negatives need."""
        gap_1, gap_2 = (int(gap) for gap in generator.integers(*self._gaps, size=2, endpoint=True))
        clip = self.clip_samples
        apart = 0
        if self.negatives != "other_recording":
            # From b1 back to a2; where there is no room for it, from a1 on to b2.
            apart = self._far + clip + gap_1 if window >= self._two_way_room else self._far - clip - gap_2
        longest = 2 * clip + max(gap_1, gap_2)
        between = int(generator.integers(max(0, apart), max(0, apart, window - longest), endpoint=True))
        length = max(2 * clip + gap_1, between + 2 * clip + gap_2)
        start_1 = begin + int(generator.integers(0, window - length, endpoint=True))
        start_2 = start_1 + between
        return Place(start_1, start_1 + clip + gap_1), Place(start_2, start_2 + clip + gap_2)

    def _pairs(
        self, places: tuple[Place, Place], lender: Sequence[Lent], generator: np.random.Generator
    ) -> Iterator[Pair]:
        """Yield the two positives, and two negatives that are the same clips crossed over."""
        for place in places:
            yield Pair(place.start_a, place.start_b, "none")
        lent_to: tuple[int, ...] = () if self.negatives == "same_recording" else (0, 1)
        if self.negatives == "both":
            can_go_back = places[1].start_a - places[0].start_b >= self._far
            lent_to = (0,) if can_go_back and generator.random() < 0.5 else (1,)
        for rank in (0, 1):
            own, other = places[rank], places[1 - rank]
            if rank not in lent_to:
                yield Pair(own.start_a, other.start_b, "same_recording_far")
                continue
            alike = [lent for lent in lender if lent.rank == 1 - rank]
            lent = alike[int(generator.integers(len(alike)))]
            yield Pair(own.start_a, lent.start, "other_recording", lent)

    def _values(self, item: Waveform, pair: Pair, generator: np.random.Generator) -> dict[str, Any]:
        starts = (pair.start_a, pair.start_b)
        if pair.lent is None:
            values = self.own_pair(item, starts, generator)
            values |= {"gap_samples": gap_between(values), "partner_key": ""}
        else:
            lent = pair.lent.samples.astype(np.float32) / np.float32(32768)
            values = self.pair_values((item.clip(pair.start_a, self.clip_samples), lent), starts, generator)
            values |= {"gap_samples": -1, "partner_key": pair.lent.source_key}
        return values | {"label": int(pair.kind == "none"), "negative_kind": pair.kind}
