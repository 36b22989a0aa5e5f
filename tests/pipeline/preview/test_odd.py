from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline.encode import encode_jpeg, encode_png
from unlabeled.pipeline.features import Features, class_label, image, value, with_envelope
from unlabeled.pipeline.preview.odd import choose, low_cardinality
from unlabeled.pipeline.preview.sample import Sample

from tests import samples

FEATURES = with_envelope(
    Features.of(
        image=image("a picture"),
        label=class_label(("cat", "dog"), "what it is"),
        relation=value("string", "parameter", "how it was made"),
    )
)


def row(number: int, **values: Any) -> dict[str, Any]:
    picture = encode_jpeg(samples.photograph(number % 3, 32, 32))
    blank = dict.fromkeys(FEATURES.names)
    known = {"image": {"bytes": picture}, "label_name": "cat", "relation": "near", "source_key": f"{number}.jpg"}
    return {**blank, **known, **values}


def sample(rows: list[dict[str, Any]]) -> Sample:
    labels = Counter(row["label_name"] for row in rows)
    return Sample(tuple(rows), 1, labels, len(rows))


def reasons_of(rows: list[dict[str, Any]], num_examples: int = 12) -> dict[str, tuple[str, ...]]:
    return {pick.row["source_key"]: pick.reasons for pick in choose(FEATURES, sample(rows), num_examples)}


def test_the_rarest_label_comes_first() -> None:
    rows = [row(number) for number in range(20)]
    rows[13] = row(13, label_name="dog")
    first, *_ = choose(FEATURES, sample(rows), 6)
    assert first.row is rows[13]
    assert "rarest label: 1 of 20" in first.reasons


def test_balanced_labels_are_not_rare() -> None:
    rows = [row(number, label_name=("cat", "dog")[number % 2]) for number in range(20)]
    assert not any("rarest" in reason for found in reasons_of(rows).values() for reason in found)


def test_extremes_of_size_contrast_and_shape_are_odd() -> None:
    rows = [row(number) for number in range(20)]
    grey = encode_png(np.full((32, 32, 3), 90, np.uint8))
    rows[4] = row(4, image={"bytes": grey})
    rows[7] = row(7, image={"bytes": encode_jpeg(samples.photograph(5, 300, 60))})
    reasons = reasons_of(rows)
    assert any(reason.startswith("smallest") for reason in reasons["4.jpg"])
    assert "lowest contrast: 0.0 of 255" in reasons["4.jpg"]
    assert any(reason.startswith("largest") for reason in reasons["7.jpg"])
    assert "most elongated: 5.00 to 1" in reasons["7.jpg"]


def test_truncated_turned_and_rarely_made_examples_are_odd() -> None:
    rows = [row(number) for number in range(30)]
    rows[3] = row(3, source_truncated=True)
    rows[5] = row(5, source_exif_orientation=6)
    rows[8] = row(8, relation="far")
    reasons = reasons_of(rows, 20)
    assert "source is truncated" in reasons["3.jpg"]
    assert "source was turned by EXIF" in reasons["5.jpg"]
    assert "rare: relation is far" in reasons["8.jpg"]


def test_ordinary_examples_take_turns_by_label_and_come_of_different_sources() -> None:
    rows = [
        row(number, label_name=("cat", "dog")[number % 2], source_key=f"{number // 4}.jpg") for number in range(40)
    ]
    ordinary = [pick.row for pick in choose(FEATURES, sample(rows), 8) if not pick.reasons]
    assert abs(sum(1 if row["label_name"] == "cat" else -1 for row in ordinary)) <= 1
    assert len({row["source_key"] for row in ordinary}) == len(ordinary)


@given(st.integers(0, 12), st.integers(1, 10))
def test_every_row_is_shown_at_most_once_and_no_more_than_asked(num_rows: int, num_examples: int) -> None:
    rows = [row(number) for number in range(num_rows)]
    picks = choose(FEATURES, sample(rows), num_examples)
    assert len(picks) == min(num_rows, num_examples)
    assert len({pick.row["source_key"] for pick in picks}) == len(picks)


def test_only_columns_with_a_few_names_are_counted() -> None:
    rows = [row(number, relation=("near", "far")[number % 2]) for number in range(6)]
    assert low_cardinality(FEATURES, rows) == {"relation": {"near": 3, "far": 3}}
    assert low_cardinality(FEATURES, [row(0), row(1)]) == {}
