"""Does a label carry anything here? A small network on a few thousand examples, asked about sources it did not see."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..pipeline.audit.probe import fold_of
from ..pipeline.audit.scores import Score, accuracy_score

NUM_EPOCHS = 12
_BATCH = 64
_ASKED = 256
_WIDTH = 32
_NUM_FOLDS = 3


def small_network(num_channels: int, num_classes: int) -> nn.Module:
    """Return three convolutions and a linear layer: [batch, num_channels, 32, 32] -> [batch, num_classes]."""
    layers: list[nn.Module] = []
    inside = num_channels
    for width in (_WIDTH, 2 * _WIDTH, 4 * _WIDTH):
        layers += [nn.Conv2d(inside, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        inside = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(inside * 16, num_classes))


def network_score(
    inputs: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.int64], seed: int
) -> Score:
    """Return the score of small networks on a third of the groups each time, learnt from the other two thirds.

    Args:
        inputs: float32 [num_examples, num_channels, 32, 32].
        labels: int64 [num_examples].
        groups: int64 [num_examples], the number of each example's group.
        seed: of folds, weights and batches.
    """
    classes, places = np.unique(labels, return_inverse=True)
    folds = fold_of(groups, seed, _NUM_FOLDS)
    predicted = np.zeros(len(labels), np.int64)
    for fold in range(_NUM_FOLDS):
        is_test = folds == fold
        if not is_test.any() or is_test.all():
            continue
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * _NUM_FOLDS + fold)
            model = _trained(torch.from_numpy(inputs[~is_test]), torch.from_numpy(places[~is_test]), len(classes))
            with torch.no_grad():
                asked = torch.from_numpy(inputs[is_test])
                told = [model(asked[at : at + _ASKED]).argmax(dim=1) for at in range(0, len(asked), _ASKED)]
                predicted[is_test] = torch.cat(told).numpy()
    return accuracy_score(places.astype(np.int64), predicted, groups)


def _trained(inputs: torch.Tensor, labels: torch.Tensor, num_classes: int) -> nn.Module:
    model = small_network(inputs.shape[1], num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    steps = NUM_EPOCHS * max(1, len(inputs) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    model.train()
    for _ in range(NUM_EPOCHS):
        order = torch.randperm(len(inputs))
        for step in range(max(1, len(inputs) // _BATCH)):
            batch = order[step * _BATCH : (step + 1) * _BATCH]
            optimizer.zero_grad()
            loss = loss_of(model(inputs[batch]), labels[batch])
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()
