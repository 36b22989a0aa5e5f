"""Predict how much time lies between two clips of one recording.

Tagliasacchi, Gfeller, de Chaumont Quitry, Roblek: Self-supervised Audio Representation Learning for Mobile Devices,
2019 (arXiv:1905.11796), TemporalGap: the label is the gap divided by the longest gap.

Shortcuts closed here: no gap below 20 ms (continuity of samples); DC is removed, each clip is equalised and levelled
at random on its own, so a fade tells nothing by its level; the first and last 100 ms are never used; which clip is the
earlier one is drawn, and both lie in a window whose place does not depend on the gap, so the mean place of a clip says
nothing of it. A recording gives every gap with the same chance; one that is too short for the longest gap gives none
(`too_short`).

Short recordings: `clip_seconds=0.1 max_gap_seconds=0.1 trim_seconds=0.02` needs 0.34 s instead of 5 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..clip_pairs import NUM_TRIES, ClipPairTask, gap_between, stands_in
from ..errors import ConfigError, Filtered
from ..features import Features, value
from ..items import Waveform
from ..rng import ItemRng
from ..task import Example, Modality, Objective, setting


@dataclass(frozen=True)
class AudioTemporalGap(ClipPairTask):
    """Predict the time between two clips of one recording (TemporalGap)."""

    version = "1"
    modality = Modality.AUDIO
    objective = Objective.REGRESSION
    paper = (
        "Tagliasacchi, Gfeller, de Chaumont Quitry, Roblek: Self-supervised Audio Representation Learning for Mobile "
        "Devices, 2019 (arXiv:1905.11796)"
    )

    min_gap_seconds: float = setting(0.02, "shortest gap", unit="s", at_least=0, at_most=60)
    max_gap_seconds: float = setting(2.88, "longest gap; the label is the gap divided by it", unit="s", at_least=0.02)
    examples_per_window: int = setting(4, "examples of every stretch that fits the longest gap", at_least=1)
    max_examples: int = setting(20, "most examples of a recording, spread over it", at_least=1)

    def __post_init__(self) -> None:
        """Check the order of the gaps."""
        super().__post_init__()
        if self.min_gap_seconds >= self.max_gap_seconds:
            raise ConfigError(f"`min_gap_seconds` must be below `max_gap_seconds`, but is {self.min_gap_seconds}.")

    def features(self) -> Features:
        """Return both clips, the gap as a fraction and in samples, where they lie, how they were conditioned."""
        return Features.of(
            label=value("float32", "label", "gap divided by the longest gap: in (0, 1]"),
            **self.pair_features(),
            gap_samples=value(
                "int64", "parameter", "end of the earlier clip to start of the later one", unit="samples"
            ),
        )

    def examples(self, item: Waveform, rng: ItemRng) -> Iterator[Example]:
        """Yield pairs whose gaps are spread evenly over all lengths, in keyed order.

        Raises:
            Filtered: `too_short`, or `no_usable_clip` (silent or clipped wherever looked).
            ConfigError: the sound has another rate than `sample_rate_hz`.
        """
        first, room = self.usable_range(item, self._window)
        num_examples = min(self.max_examples, self.examples_per_window * (room // self._window))
        # One permutation for the gaps and one for the places: neither tells the other.
        generator = rng.item("pairs")
        places, gaps = generator.permutation(num_examples), rng.order(num_examples)
        draw = 0
        for place, gap in zip(places, gaps, strict=True):
            strata = (int(place), int(gap), num_examples)
            starts = self._starts(item, first, room, strata, generator)
            if starts is not None:
                yield Example(draw, self._values(item, starts, rng.draw(draw)))
                draw += 1
        if not draw:
            raise Filtered("no_usable_clip", "silent or clipped wherever looked")

    def estimate_num_bytes(self, source_num_bytes: int) -> int:
        """Return FLAC of 1.1 bytes a sample for every pair; sources are taken for 16-bit mono."""
        windows = max(1, source_num_bytes // 2 // self._window)
        return int(min(self.max_examples, self.examples_per_window * windows) * (600 + 2.2 * self.clip_samples))

    def rederive(self, row: Mapping[str, Any], item: Waveform) -> Mapping[str, Any]:
        """Return gap and label from the places where both clips do stand in `item`; a gap of -1 where they do not."""
        if not (stands_in(item, row, "a") and stands_in(item, row, "b")):
            return {"label": -1.0, "gap_samples": -1}
        gap = gap_between(row)
        return {"label": self._label(gap), "gap_samples": gap}

    @property
    def _gaps(self) -> tuple[int, int]:
        return round(self.min_gap_seconds * self.sample_rate_hz), round(self.max_gap_seconds * self.sample_rate_hz)

    @property
    def _window(self) -> int:
        return 2 * self.clip_samples + self._gaps[1]

    def _label(self, gap_samples: int) -> float:
        return float(np.float32(gap_samples / self._gaps[1]))

    def _starts(
        self, item: Waveform, first: int, room: int, strata: tuple[int, int, int], generator: np.random.Generator
    ) -> tuple[int, int] | None:
        """Return where a and b begin, in their shares of all places and of all gaps; None where all is silent."""
        place, gap_stratum, num_strata = strata
        shortest, longest = self._gaps
        gap = shortest + int((longest - shortest + 1) * (gap_stratum + generator.random()) / num_strata)
        length = 2 * self.clip_samples + gap
        for _ in range(NUM_TRIES):
            window = first + int((room - self._window + 1) * (place + generator.random()) / num_strata)
            early = window + int(generator.integers(0, self._window - length, endpoint=True))
            late = early + self.clip_samples + gap
            if self.is_usable(item, early, late):
                return (early, late) if generator.random() < 0.5 else (late, early)
        return None

    def _values(self, item: Waveform, starts: tuple[int, int], generator: np.random.Generator) -> dict[str, Any]:
        values = self.own_pair(item, starts, generator)
        gap = gap_between(values)
        return values | {"label": self._label(gap), "gap_samples": gap}
