from __future__ import annotations

import numpy as np
from unlabeled.pipeline.audit.measure import SCHEMA, Spec, measure
from unlabeled.pipeline.encode import encode_values
from unlabeled.pipeline.features import Features, audio, class_label, value, with_envelope
from unlabeled.pipeline.task import Objective

PAIRS = Features.of(clip_a=audio("a", sample_rate_hz=8000), clip_b=audio("b", sample_rate_hz=8000))
ENVELOPE = {"draw": 0, "media_kind": "audio", "source_key": "k", "source_num_bytes": 5}


def _pair(group: str, seed: int) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(0, 0.05, 2000).astype(np.float32) for name in ("clip_a", "clip_b")}
    missing = dict.fromkeys(with_envelope(PAIRS).names)
    return {**missing, **encode_values(PAIRS, values), **ENVELOPE, "group_id": group}


def test_every_stored_pair_has_a_counterpart_across_groups() -> None:
    spec = Spec(with_envelope(PAIRS), Objective.CONTRASTIVE)
    table = measure(spec, [_pair("a", 0), _pair("a", 1), _pair("b", 2)], 10, 100)
    assert spec.is_contrastive
    assert table["labels"].to_pylist() == [[1.0], [0.0]] * 3
    assert table["row"].to_pylist() == [10, 10, 11, 11, 12, 12]


def test_labels_of_one_number_are_targets_and_unlabelled_rows_are_left_out() -> None:
    features = with_envelope(
        Features.of(
            label=class_label(("x", "y"), "class", is_nullable=True),
            order=value("int8", "label", "order"),
            ids=value("int32", "label", "ids", shape=(2,)),
        )
    )
    spec = Spec(features, Objective.CLASSIFICATION)
    rows = [
        {**dict.fromkeys(features.names), **ENVELOPE, "group_id": "g", "label": at, "order": 1} for at in (1, None)
    ]
    table = measure(spec, rows, 0, 2)
    assert spec.targets == ("label", "order")
    assert table["labels"].to_pylist() == [[1.0, 1.0]]
    assert table.schema == SCHEMA
