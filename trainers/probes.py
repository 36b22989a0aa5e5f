"""What frozen features know of labels: nearest neighbours and a linear probe."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

#: Of the votes of neighbours: Wu et al. 2018, arXiv:1805.01978.
_TEMPERATURE = 0.07
_MAX_ITERATIONS = 200
_TINY = 1e-6


def pool(layer: Tensor, side: int = 1, *, num_prefix_tokens: int = 0, mask: Tensor | None = None) -> Tensor:
    """Return one vector an example, float32 [B, D], from one layer of an encoder.

    Args:
        layer: feature maps [B, C, H, W], pooled by averages to `side` x `side` places (D = C * side * side), or
            tokens [B, T, C], averaged (D = C).
        side: of the grid of places that stay apart; where things are helps a probe of a small net.
        num_prefix_tokens: tokens before the patches, left out of the average.
        mask: bool or int [B, T], nonzero for tokens that count; all where not given.
    """
    layer = layer.float()
    if layer.ndim == 4:
        return functional.adaptive_avg_pool2d(layer, (min(side, layer.shape[2]), min(side, layer.shape[3]))).flatten(1)
    tokens = layer[:, num_prefix_tokens:]
    if mask is None:
        return tokens.mean(1)
    weights = mask[:, num_prefix_tokens:].to(tokens.dtype).unsqueeze(-1)
    return (tokens * weights).sum(1) / weights.sum(1).clamp_min(1)


def standardize(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return all with mean 0 and deviation 1/√D of each of the D columns of `train`: rows have a norm near 1."""
    mean, deviation = train.mean(0), train.std(0, correction=0)
    # A column that hardly varies says nothing: it must not be blown up to say something.
    scale = 1 / ((deviation + 0.01 * deviation.mean() + _TINY) * train.shape[1] ** 0.5)
    return tuple((part - mean) * scale for part in (train, *others))


def knn(train: Tensor, labels: Tensor, test: Tensor, num_classes: int, num_neighbours: int = 20) -> Tensor:
    """Return the class of each row of `test`, int64 [N], by the votes of its nearest rows of `train`.

    Similarity is the cosine, a vote weighs exp(similarity / 0.07) (Wu et al. 2018, arXiv:1805.01978).
    """
    similarity = functional.normalize(test, dim=1) @ functional.normalize(train, dim=1).T
    weights, neighbours = similarity.topk(min(num_neighbours, len(train)), dim=1)
    # Less the nearest: the same shares, and nothing overflows.
    weights = ((weights - weights[:, :1]) / _TEMPERATURE).exp()
    votes = torch.zeros(len(test), num_classes, dtype=weights.dtype, device=weights.device)
    return votes.scatter_add_(1, labels[neighbours], weights).argmax(1)


def linear_probe(train: Tensor, labels: Tensor, test: Tensor, num_classes: int, l2: float) -> Tensor:
    """Return the class of each row of `test`, int64 [N], by multinomial logistic regression on `train`.

    Minimised to convergence by L-BFGS from zero, so there is no learning rate, no seed and no order of examples.

    Args:
        train: float32 [M, D]; give `standardize`d features.
        labels: int64 [M].
        test: float32 [N, D].
        num_classes: classes; those that `labels` lacks are never predicted.
        l2: the loss is mean cross-entropy + l2 * sum of squared weights (not of biases).
    """
    weight = torch.zeros(num_classes, train.shape[1], requires_grad=True)
    present = torch.bincount(labels, minlength=num_classes) > 0
    absent = torch.where(present, 0.0, -torch.inf)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=_MAX_ITERATIONS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = functional.linear(train, weight, bias) + absent
        loss = functional.cross_entropy(logits, labels) + l2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return (functional.linear(test, weight, bias) + absent).argmax(1)
