from __future__ import annotations

from pathlib import Path

import torch
from unlabeled.trainers.config import ComputeSettings, OptimizerSettings
from unlabeled.trainers.device import decide
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.loop import make_optimizer
from unlabeled.trainers.objectives.classification import Classification, Target
from unlabeled.trainers.objectives.views import Views
from unlabeled.trainers.parallel import Parallel, RunningMean
from unlabeled.trainers.ranks import Ranks

from tests.small_media import raw_media


def model(seed: int = 0) -> Classification:
    encoder = build_encoder("vit-mini", seed=seed, side_px=32, patch_px=8)
    return Classification(encoder, Views(("image",), 1), [Target("label", 4)])


def step(parallel: Parallel, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss = parallel.module({"image": raw_media("image"), "label": torch.tensor([0, 3])}).loss
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def test_a_state_taken_over_goes_on_exactly(tmp_path: Path) -> None:
    compute = decide(ComputeSettings(device="cpu", precision="float32"), is_convolutional=False)
    made = []
    for seed in (0, 1):
        parallel = Parallel(model(seed), compute, Ranks(), "ddp")
        made.append((parallel, make_optimizer(parallel.objective, OptimizerSettings(), 256)))
    (one, one_optimizer), (other, other_optimizer) = made
    for _ in range(2):
        step(one, one_optimizer)
    state = one.state(one_optimizer)
    torch.save(state, tmp_path / "state.pt")
    expected = [step(one, one_optimizer) for _ in range(3)]
    other.load(other_optimizer, torch.load(tmp_path / "state.pt", weights_only=True))
    assert [step(other, other_optimizer) for _ in range(3)] == expected


def test_a_state_is_a_copy() -> None:
    compute = decide(ComputeSettings(device="cpu", precision="float32"), is_convolutional=False)
    parallel = Parallel(model(), compute, Ranks(), "ddp")
    optimizer = make_optimizer(parallel.objective, OptimizerSettings(), 256)
    step(parallel, optimizer)
    before = parallel.state(optimizer)["model"]["encoder.model.embeddings.cls_token"].clone()
    step(parallel, optimizer)
    state = parallel.state(optimizer)["model"]["encoder.model.embeddings.cls_token"]
    assert not torch.equal(before, state)


def test_a_running_mean_follows_by_what_the_decay_leaves() -> None:
    net = torch.nn.Linear(2, 1)
    mean = RunningMean(net, 0.75)
    before = net.weight.detach().clone()
    with torch.no_grad():
        net.weight += 4
    mean.update(net)
    torch.testing.assert_close(next(mean.module.parameters()), before + 1)
