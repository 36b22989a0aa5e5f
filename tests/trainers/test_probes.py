from __future__ import annotations

import torch
from torch import Tensor
from unlabeled.trainers.probes import knn, linear_probe, pool, standardize


def _blobs(num: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num) % 3
    return torch.eye(3)[labels] * 4 + torch.randn(num, 3, generator=generator), labels


def test_a_map_is_pooled_to_a_grid_whose_places_stay_apart() -> None:
    layer = torch.zeros(2, 5, 8, 8)
    layer[:, 0, :4, :4] = 1
    pooled = pool(layer, 2)
    assert pooled.shape == (2, 20)
    assert pooled[0, :4].tolist() == [1, 0, 0, 0]
    assert pool(layer, 1)[0, 0] == 0.25
    assert pool(torch.ones(1, 5, 2, 3), 4).shape == (1, 5 * 6)


def test_tokens_are_averaged_without_class_token_and_padding() -> None:
    tokens = torch.tensor([[[9.0], [1.0], [3.0], [100.0]]])
    mask = torch.tensor([[1, 1, 1, 0]])
    assert pool(tokens, num_prefix_tokens=1, mask=mask).tolist() == [[2.0]]


def test_standardizing_takes_its_numbers_from_the_first() -> None:
    train, test = standardize(torch.tensor([[0.0, 1.0], [2.0, 1.0]]), torch.tensor([[1.0, 1.0]]))
    assert torch.allclose(train.mean(0), torch.zeros(2))
    assert test.tolist() == [[0.0, 0.0]]


def test_both_probes_find_separate_classes() -> None:
    train, labels = _blobs(60, 0)
    test, expected = _blobs(300, 1)
    assert (knn(train, labels, test, 3) == expected).float().mean() > 0.9
    train, test = standardize(train, test)
    assert (linear_probe(train, labels, test, 3, 1e-4) == expected).float().mean() > 0.9


def test_the_linear_probe_is_at_the_minimum_of_its_loss() -> None:
    """Scikit-learn's solver, which divides the loss otherwise, predicts the same."""
    from sklearn.linear_model import LogisticRegression

    train, labels = _blobs(90, 0)
    test, _ = _blobs(300, 1)
    l2 = 0.01
    peer = LogisticRegression(C=1 / (2 * l2 * len(train)), tol=1e-8, max_iter=1000).fit(train.numpy(), labels.numpy())
    found = linear_probe(train, labels, test, 3, l2)
    assert (found.numpy() == peer.predict(test.numpy())).mean() > 0.99


def test_random_features_know_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn(300, 8, generator=generator), torch.randn(3000, 8, generator=generator)
    labels, expected = torch.arange(300) % 3, torch.arange(3000) % 3
    assert abs((linear_probe(train, labels, test, 3, 1e-2) == expected).float().mean() - 1 / 3) < 0.05


def test_a_class_without_labels_is_never_predicted() -> None:
    train, labels = _blobs(30, 0)
    test, _ = _blobs(50, 1)
    assert set(linear_probe(train, labels, test, 9, 1e-3).tolist()) <= {0, 1, 2}
