"""What the trainers' tests share."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Nets this small gain nothing from a second thread, and threads that wait for each other lose much."""
    torch.set_num_threads(1)
