from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from unlabeled.trainers.config import ComputeSettings, OptimizerSettings
from unlabeled.trainers.device import decide
from unlabeled.trainers.encoders.build import build_encoder
from unlabeled.trainers.loop import make_optimizer
from unlabeled.trainers.objectives.classification import Classification, Target
from unlabeled.trainers.objectives.views import Views
from unlabeled.trainers.parallel import Parallel, RunningMean, compile_blocks
from unlabeled.trainers.ranks import Ranks

from tests.small_media import raw_media


def model(seed: int = 0) -> Classification:
    torch.manual_seed(seed)  # of the head
    encoder = build_encoder("vit-mini", seed=seed, side_px=32, patch_px=8)
    return Classification(encoder, Views(("image",), 1), [Target("label", 4)])


def step(parallel: Parallel, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    device = next(parallel.objective.parameters()).device
    loss = parallel.module({"image": raw_media("image").to(device), "label": torch.tensor([0, 3], device=device)}).loss
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


def on_gpu(net: Classification, world_size: int = 1) -> list[float]:
    """Return three losses; `world_size` 2 shards the weights, over the one process that there is."""
    compute = decide(ComputeSettings(device="cuda", precision="float32"), is_convolutional=False)
    parallel = Parallel(net, compute, Ranks(0, world_size), "fsdp")
    optimizer = make_optimizer(parallel.objective, OptimizerSettings(), 256)
    return [step(parallel, optimizer) for _ in range(3)]


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("nccl", init_method=(tmp_path / "met").as_uri(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.gpu
@pytest.mark.usefixtures("one_process")
def test_on_a_gpu_sharded_weights_learn_the_same() -> None:
    assert on_gpu(model(), world_size=2) == pytest.approx(on_gpu(model()), rel=1e-4)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::UserWarning:torch.*", "ignore::DeprecationWarning:torch.*")  # the compiler's own
def test_on_a_gpu_compiled_blocks_learn_the_same() -> None:
    compiled = model()
    compile_blocks(compiled)
    assert on_gpu(compiled) == pytest.approx(on_gpu(model()), rel=1e-3)


def test_a_running_mean_follows_by_what_the_decay_leaves() -> None:
    net = torch.nn.Linear(2, 1)
    mean = RunningMean(net, 0.75)
    before = net.weight.detach().clone()
    with torch.no_grad():
        net.weight += 4
    mean.update(net)
    torch.testing.assert_close(next(mean.module.parameters()), before + 1)
