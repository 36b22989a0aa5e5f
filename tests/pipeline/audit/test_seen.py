from __future__ import annotations

import numpy as np
import pytest
from unlabeled.pipeline.audit.seen import Sound, see
from unlabeled.pipeline.encode import encode_values
from unlabeled.pipeline.errors import CorruptData
from unlabeled.pipeline.features import Features, audio, class_label, image, value

from tests import samples

PICTURE = samples.photograph(0, 32, 24)
FEATURES = Features.of(
    clips=image("clips", shape=(2, 2)),
    sound=audio("a sound", sample_rate_hz=8000),
    answer=image("the answer", role="label"),
    label=class_label(("a", "b"), "class"),
    note=value("string", "parameter", "a note"),
    said=value("string", "input", "what is said"),
)


def test_inputs_alone_are_seen_and_lists_keep_their_lengths() -> None:
    values = {
        "clips": [[PICTURE, PICTURE]] * 2,
        "sound": np.zeros(80, np.float32),
        "answer": PICTURE,
        "label": 1,
        "note": "the label is b",
        "said": "hello",
    }
    seen = see(FEATURES, {**encode_values(FEATURES, values), "media_kind": "video"})
    assert (len(seen.stills), seen.clips, seen.is_timed) == (4, (2, 2), True)
    assert (len(seen.sounds[0].samples), seen.texts) == (80, ("hello",))
    assert seen.stills[0].pixels.shape == (24, 32, 3)


def test_tokens_are_split_into_segments_and_padding_is_left_out() -> None:
    features = Features.of(input_ids=value("int32", "input", "ids", shape=(6,)))
    row = {"input_ids": [1, 2, 3, 4, 0, 0], "attention_mask": [1, 1, 1, 1, 0, 0], "token_type_ids": [0, 0, 1, 1, 0, 0]}
    seen = see(features, row)
    assert [one.tolist() for one in seen.segments] == [[1, 2], [3, 4]]
    assert seen.length == 6


def test_a_sound_that_no_task_writes_is_not_decoded() -> None:
    with pytest.raises(CorruptData, match="none of ours"):
        _ = Sound(bytes(64_000_001), 16000).samples
