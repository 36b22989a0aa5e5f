from __future__ import annotations

from pathlib import Path

from unlabeled.pipeline.worker_fence import fence_of

from tests.small_datasets import target


def test_a_process_has_one_decoder_for_the_limits_at_hand(tmp_path: Path) -> None:
    first, same = target(tmp_path / "a"), target(tmp_path / "b")
    other = target(tmp_path / "c", limits={"max_pixels": 10_000})
    assert fence_of(first) is fence_of(same)
    assert fence_of(other) is not fence_of(first)
