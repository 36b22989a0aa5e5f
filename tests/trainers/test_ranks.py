from __future__ import annotations

import torch
from unlabeled.trainers.ranks import Ranks


def test_alone_nothing_is_exchanged() -> None:
    ranks = Ranks()
    assert ranks.is_first
    assert ranks.sum(torch.tensor([2.0])).tolist() == [2.0]
    assert ranks.from_first([3, 4], torch.device("cpu")) == [3, 4]
    ranks.barrier()
