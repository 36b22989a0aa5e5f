"""Tell the two segments that are of one recording from those of the others in the batch.

Saeed, Grangier, Zeghidour: Contrastive Learning of General-Purpose Audio Representations (COLA), ICASSP 2021
(arXiv:2010.10915): two segments of 960 ms; the other examples of the batch are the negatives, so the loader keeps the
examples of one recording in different batches.

Shortcuts closed here: each segment is equalised and levelled at random on its own and DC is removed, so that a
recorder's colour does not pair them, and gets white noise of its own, so that neither the recording's noise floor nor
its bandwidth does (byte sizes told pairs before: tests/bench/2026-11-25-audit.md); segments never overlap (else
samples could be matched); the first and last 100 ms are never used. Copies of one recording would be false negatives:
give them one group (`--group-by`, or fingerprints).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..clip_pairs import NUM_TRIES, ClipPairTask, gap_between, stands_in
from ..errors import ConfigError, Filtered
from ..features import Features, value
from ..items import Waveform
from ..rng import ItemRng
from ..task import Batching, Example, Modality, Objective, setting

RELATION = "same_recording"


@dataclass(frozen=True)
class AudioSameClip(ClipPairTask):
    """Match two segments of one recording (COLA)."""

    version = "2"
    modality = Modality.AUDIO
    objective = Objective.CONTRASTIVE
    paper = (
        "Saeed, Grangier, Zeghidour: Contrastive Learning of General-Purpose Audio Representations, ICASSP 2021 "
        "(arXiv:2010.10915)"
    )

    # Twice that of other pairs: tilt alone finds the partner among 32 in 17 % of cases at 0 dB, 16 % at 6, 9 % at 12.
    eq_db: float = setting(12.0, "gains, octave by octave, are uniform in +- this", unit="dB", at_least=0, at_most=20)
    least_snr_db: float = setting(
        10.0,
        "each clip gets white noise, between this and 20 dB more below it; 0: none",
        unit="dB",
        at_least=0,
        at_most=60,
    )
    min_gap_seconds: float = setting(0.02, "least gap between the segments", unit="s", at_least=0, at_most=60)
    window_seconds: float = setting(10.0, "both segments lie in a stretch of this length", unit="s", at_least=0.1)
    max_examples: int = setting(8, "most examples of a recording, spread over it", at_least=1)

    def __post_init__(self) -> None:
        """Check that two segments fit into a stretch."""
        super().__post_init__()
        if self.window_seconds < 2 * self.clip_seconds + self.min_gap_seconds:
            raise ConfigError(
                f"`window_seconds` must be at least {2 * self.clip_seconds + self.min_gap_seconds:g} (two clips and a "
                f"gap), but is {self.window_seconds}."
            )

    @property
    def batching(self) -> Batching:
        """Examples of one recording would be each other's false negatives."""
        return "apart"

    def features(self) -> Features:
        """Return both segments, where they lie, and how they were conditioned."""
        return Features.of(
            **self.pair_features(),
            gap_samples=value(
                "int64", "parameter", "end of the earlier segment to start of the later", unit="samples"
            ),
            relation=value("string", "parameter", "what makes the two a pair: same_recording"),
        )

    def examples(self, item: Waveform, rng: ItemRng) -> Iterator[Example]:
        """Yield pairs of segments in keyed order, spread over the recording.

        Raises:
            Filtered: `too_short`, or `no_usable_clip` (silent or clipped wherever looked).
            ConfigError: the sound has another rate than `sample_rate_hz`.
        """
        shortest = 2 * self.clip_samples + self._min_gap
        first, room = self.usable_range(item, shortest)
        num_examples = min(self.max_examples, room // shortest)
        window = min(room, round(self.window_seconds * self.sample_rate_hz))
        draw = 0
        for place in rng.order(num_examples):
            generator = rng.item(f"place {place}")
            for _ in range(NUM_TRIES):
                begin = first + int((room - window + 1) * (int(place) + generator.random()) / num_examples)
                offsets = sorted(int(offset) for offset in generator.integers(0, window - shortest, 2, endpoint=True))
                early, late = begin + offsets[0], begin + offsets[1] + self.clip_samples + self._min_gap
                if self.is_usable(item, early, late):
                    starts = (early, late) if generator.random() < 0.5 else (late, early)
                    values = self.own_pair(item, starts, rng.draw(draw))
                    yield Example(draw, values | {"gap_samples": gap_between(values), "relation": RELATION})
                    draw += 1
                    break
        if not draw:
            raise Filtered("no_usable_clip", "silent or clipped wherever looked")

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return FLAC of 1.1 bytes a sample for every pair; sources are taken for 16-bit mono."""
        pairs = max(1, source_num_bytes // 2 // (2 * self.clip_samples + self._min_gap))
        return int(min(self.max_examples, pairs) * (600 + 2.2 * self.clip_samples))

    def rederive(self, row: Mapping[str, Any], item: Waveform) -> Mapping[str, Any]:
        """Return the relation and the gap of the segments; where one does not stand in `item`, no relation."""
        is_pair = stands_in(item, row, "a") and stands_in(item, row, "b")
        gap = gap_between(row)
        return {"relation": RELATION if is_pair and gap >= self._min_gap else "", "gap_samples": gap}

    @property
    def _min_gap(self) -> int:
        return round(self.min_gap_seconds * self.sample_rate_hz)
