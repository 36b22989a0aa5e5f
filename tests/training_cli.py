"""`pretrain` as tests of faults call it: small, a report and a progress line a step, checkpoints every five steps."""

from __future__ import annotations

import re


def pretrain_arguments(data: str, output: str, *settings: str) -> list[str]:
    """Return the command of a run on two workers of one CPU each: 20 pictures with their turns, 60 steps of 16."""
    return [
        *("pretrain", "--data", data, "--output", output, "--num-workers", "2"),
        *("--encoder", "vit-mini", "--set", "encoder.patch_px=8", "--epochs", "12", "--batch-size", "16"),
        *("--set", "compute.precision=float32", "--set", "run.cpus_per_worker=1"),
        *("--set", "run.log_steps=1", "--set", "run.checkpoint_steps=5"),
        *(part for setting in settings for part in ("--set", setting)),
    ]


def losses(log: str, is_exact: bool = True) -> dict[int, str]:
    """Return step -> loss as a run's log tells them; steps that were made again must have lost the same."""
    found: dict[int, str] = {}
    for step, loss in re.findall(r"step (\d+) of \d+, loss ([\d.e+-]+)", log):
        before = found.setdefault(int(step), loss)
        assert not is_exact or before == loss
    return found


def last_step(log: str) -> int:
    """Return the highest step that a log tells of; 0 before the first."""
    return max(losses(log, is_exact=False), default=0)
