from __future__ import annotations

import pytest
import torch
from unlabeled.pipeline.errors import ConfigError
from unlabeled.trainers.config import ComputeSettings
from unlabeled.trainers.device import decide


def test_float32_on_a_cpu_leaves_the_layout() -> None:
    compute = decide(ComputeSettings(device="cpu", precision="float32"), is_convolutional=True)
    assert compute.describe()["precision"] == "float32"
    assert compute.describe()["channels_last"] == "no"


def test_bfloat16_is_computed_in_and_convolutions_get_their_layout() -> None:
    compute = decide(ComputeSettings(device="cpu", precision="bfloat16"), is_convolutional=True)
    net = compute.place(torch.nn.Conv2d(3, 4, 3))
    with compute.autocast():
        found = net(torch.zeros(1, 3, 8, 8))
    assert found.dtype == torch.bfloat16
    assert next(net.parameters()).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`compute\.device` is cuda"):
        decide(ComputeSettings(device="cuda"), is_convolutional=True)


@pytest.mark.gpu
def test_a_gpu_is_taken_in_bfloat16_and_channels_last_where_there_is_one() -> None:
    compute = decide(ComputeSettings(), is_convolutional=True)
    net = compute.place(torch.nn.Conv2d(3, 4, 3))
    with compute.autocast():
        found = net(torch.zeros(1, 3, 8, 8, device=compute.device))
    assert (found.device.type, found.dtype) == ("cuda", torch.bfloat16)
    assert next(net.parameters()).is_contiguous(memory_format=torch.channels_last)
