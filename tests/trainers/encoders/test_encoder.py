from __future__ import annotations

import torch
from unlabeled.trainers.encoders.encoder import take_tokens


def test_tokens_are_taken_example_by_example() -> None:
    tokens = torch.arange(12.0).view(2, 3, 2)
    taken = take_tokens(tokens, torch.tensor([[2, 0], [1, 1]]))
    assert taken.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]
