"""Classifiers from encoders and a few labels: the whole network, or a head on an encoder that stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from ..pipeline.rng import keyed_generator
from .augment import NUM_DRAWS, AugmentSettings, augment
from .config import ComputeSettings
from .device import Compute, decide
from .encoders.convolutional import ConvolutionalEncoder
from .encoders.encoder import Encoder
from .encoders.spec import Inputs
from .label_draws import Indexes
from .labelled import Labelled
from .schedule import CosineSchedule

#: whole: all weights learn. frozen: a head with a hidden layer learns. linear: a linear head learns.
Mode = Literal["whole", "frozen", "linear"]
_PREDICT_BATCH = 250


class FinetuneSettings(BaseModel):
    """How a classifier is trained. The defaults are for small convolutional nets and tens to thousands of labels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = Field("whole", description="whole network, frozen encoder with a hidden layer, or linear head")
    learning_rate: float = Field(4e-3, gt=0, description="of AdamW, at its peak")
    weight_decay: float = Field(0.05, ge=0, description="of AdamW")
    batch_size: int = Field(64, ge=2, description="examples of a step")
    num_steps: int = Field(300, ge=1, description="steps")
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the rate rises")
    hidden_width: int = Field(256, ge=1, description="of the head's hidden layer, where the encoder is frozen")
    seed: int = Field(0, ge=0, lt=2**63, description="keys the head's weights, order and augmentation")
    augment: AugmentSettings = Field(AugmentSettings(flip="horizontal"), description="of pictures")
    compute: ComputeSettings = ComputeSettings()


class Classifier(nn.Module):
    """An encoder with a head; `classes` are the names of its outputs."""

    def __init__(self, encoder: Encoder, head: nn.Module, classes: tuple[str, ...], mode: Mode) -> None:
        super().__init__()
        self.encoder, self.head, self.classes, self.mode = encoder, head, classes, mode

    def forward(self, inputs: Inputs) -> Tensor:
        """Return logits [B, len(classes)] for what the encoder's `preprocess` gave."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.mode == "whole"):
            pooled = self.encoder(inputs, with_layers=False).pooled
        return self.head(pooled)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Classifier:
        """Set training mode; an encoder that does not learn stays in evaluation mode, its batch norms too."""
        super().train(mode)
        if self.mode != "whole":
            self.encoder.eval()
        return self


def make_head(num_features: int, num_classes: int, mode: Mode, hidden_width: int) -> nn.Module:
    """Return the head of a mode."""
    if mode == "frozen":
        return nn.Sequential(
            nn.Linear(num_features, hidden_width),
            nn.LayerNorm(hidden_width),
            nn.ReLU(),
            nn.Linear(hidden_width, num_classes),
        )
    return nn.Linear(num_features, num_classes)


def compute_of(encoder: Encoder, settings: ComputeSettings) -> Compute:
    """Return where and how an encoder is computed."""
    return decide(settings, is_convolutional=isinstance(encoder, ConvolutionalEncoder))


def train_classifier(encoder: Encoder, labelled: Labelled, settings: FinetuneSettings) -> Classifier:
    """Return a classifier in evaluation mode, trained on all of `labelled`; `encoder` itself stays as it is.

    The same arguments give the same batches; on one CPU with one number of threads also the same weights.
    """
    compute = compute_of(encoder, settings.compute)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        head = make_head(encoder.num_features, len(labelled.classes), settings.mode, settings.hidden_width)
        classifier = Classifier(copy.deepcopy(encoder), head, labelled.classes, settings.mode)
        _train(compute.place(classifier).train(), labelled, settings, compute)
    return classifier.eval()


def _train(classifier: nn.Module, labelled: Labelled, settings: FinetuneSettings, compute: Compute) -> None:
    encoder: Encoder = classifier.encoder  # type: ignore[assignment]
    learning = classifier.parameters() if settings.mode == "whole" else classifier.head.parameters()  # type: ignore[union-attr]
    optimizer = torch.optim.AdamW(learning, settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = CosineSchedule(settings.learning_rate, settings.num_steps, settings.warmup_fraction)
    rng = keyed_generator("finetune", settings.seed)
    batches = _batches(len(labelled), settings.batch_size, rng)
    for step in range(settings.num_steps):
        # The first step's rate is not 0, so that it is worth its cost.
        optimizer.param_groups[0]["lr"] = schedule.at(step + 1)
        chosen = next(batches)
        media = _varied(labelled, chosen, rng, settings).to(compute.device, non_blocking=True)
        target = torch.from_numpy(labelled.labels[chosen]).to(compute.device)
        with compute.autocast():
            logits = classifier(encoder.preprocess(media))
        loss = functional.cross_entropy(logits.float(), target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def _batches(num_examples: int, batch_size: int, rng: np.random.Generator) -> Iterator[Indexes]:
    """Yield batches without end, of one permutation after the other: each example equally often, within one."""
    waiting = np.zeros(0, np.int64)
    while True:
        while len(waiting) < batch_size:
            waiting = np.concatenate([waiting, rng.permutation(num_examples)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]


def _varied(labelled: Labelled, chosen: Indexes, rng: np.random.Generator, settings: FinetuneSettings) -> Tensor:
    media = torch.from_numpy(labelled.media[chosen])
    if labelled.medium != "image":
        return media
    draws = torch.from_numpy(rng.random((len(chosen), NUM_DRAWS), np.float32))
    return augment(media, draws, settings.augment)


@torch.no_grad()
def predict(classifier: Classifier, labelled: Labelled, settings: ComputeSettings) -> NDArray[np.int64]:
    """Return the predicted class of each example, int64 [N]; the classifier is left in evaluation mode."""
    compute = compute_of(classifier.encoder, settings)
    compute.place(classifier).eval()
    found = []
    for start in range(0, len(labelled), _PREDICT_BATCH):
        media = torch.from_numpy(labelled.media[start : start + _PREDICT_BATCH]).to(compute.device)
        with compute.autocast():
            found.append(classifier(classifier.encoder.preprocess(media)).argmax(1).cpu())
    return torch.cat(found).numpy()
