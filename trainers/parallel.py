"""One module over several workers: whole copies (DDP), or shards of the weights (FSDP2); and its state as one.

A state is keyed by names and holds whole tensors, so it can be loaded by any number of workers and either strategy.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from .device import Compute
from .objectives.base import PretextObjective
from .ranks import Ranks

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


class Parallel:
    """An objective on this worker's device, wrapped for the others.

    Attributes:
        objective: the module itself; with FSDP its parameters are shards.
        module: what is called in training.
    """

    def __init__(self, objective: PretextObjective, compute: Compute, ranks: Ranks, strategy: str) -> None:
        compute.place(objective)
        self.objective = objective
        self.strategy = strategy if ranks.world_size > 1 else "none"
        self.module: nn.Module = objective
        if self.strategy == "fsdp":
            shard(objective, [block for encoder in objective.encoders.values() for block in encoder.blocks])
        elif self.strategy == "ddp":
            gpu = [compute.device.index] if compute.device.type == "cuda" else None
            self.module = DistributedDataParallel(objective, device_ids=gpu, gradient_as_bucket_view=True)

    def syncing(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """Return the context of one micro batch: gradients are exchanged with the last one alone."""
        if self.strategy == "fsdp":
            self.objective.set_requires_gradient_sync(is_last)  # type: ignore[operator]
            return nullcontext()
        if isinstance(self.module, DistributedDataParallel) and not is_last:
            return self.module.no_sync()
        return nullcontext()

    def state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Return whole weights and optimizer state as copies on the CPU; every worker must call it."""
        model, moments = get_state_dict(self.objective, optimizer, options=_WHOLE)
        return {"model": _copied(model), "optimizer": _copied(moments)}

    def load(self, optimizer: Optimizer, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned, on every worker."""
        set_state_dict(
            self.objective,
            optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optimizer"],
            options=StateDictOptions(full_state_dict=True),
        )


def shard(module: nn.Module, blocks: list[nn.Module]) -> None:
    """Shard a module's parameters over all workers, block by block (FSDP2)."""
    for block in blocks:
        fully_shard(block)
    fully_shard(module)


def compile_blocks(objective: PretextObjective) -> None:
    """Let torch.compile compile each block of the encoders on first use: equal blocks are compiled once."""
    for encoder in objective.encoders.values():
        for block in encoder.blocks:
            block.compile()


class RunningMean:
    """An exponential moving average of a module's weights (Polyak and Juditsky, 1992); buffers are taken as they are.

    decay: what remains of the mean after one step.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(requires_grad=False)
        self._decay = decay

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's weights."""
        for mean, weights in zip(self.module.parameters(), module.parameters(), strict=True):
            mean.lerp_(_local(weights).to(mean), 1 - self._decay)
        for own, buffer in zip(self.module.buffers(), module.buffers(), strict=True):
            own.copy_(buffer)

    def state(self) -> dict[str, Any]:
        """Return the mean's weights and buffers as copies on the CPU."""
        return whole_state(self.module)

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned."""
        self.module.load_state_dict(state)


def whole_state(module: nn.Module) -> dict[str, Any]:
    """Return a module's weights and buffers, whole, as copies on the CPU; with FSDP every worker must call it."""
    copied: dict[str, Any] = _copied(module.state_dict())
    return copied


def _local(weights: Tensor) -> Tensor:
    """Return whole weights, of shards too."""
    full_tensor = getattr(weights, "full_tensor", None)
    return weights.detach() if full_tensor is None else full_tensor().detach()


def _copied(state: Any) -> Any:
    if isinstance(state, Tensor):
        return _local(state).to("cpu", copy=True)
    if isinstance(state, Mapping):
        return {name: _copied(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return [_copied(value) for value in state]
    return state
