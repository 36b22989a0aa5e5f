"""One fence for all tests of decoding; a test that loses its child leaves it to the next call to start another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from unlabeled.pipeline.decode.fence import Fence

from tests.hostile_handlers import DECODERS


@pytest.fixture(scope="session")
def fence() -> Iterator[Fence]:
    with Fence(decoders=DECODERS) as fence:
        yield fence
