from __future__ import annotations

from pathlib import Path

import pytest
from unlabeled.pipeline.pooled_memory import read_pooled


@pytest.mark.parametrize(("start", "length", "expected"), [(0, 3, b"abc"), (2, 9, b"cdef"), (6, 4, b""), (0, 0, b"")])
def test_what_is_there_is_read_and_cannot_be_changed(tmp_path: Path, start: int, length: int, expected: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abcdef")
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        found = read_pooled(file, length)
    assert found == expected
    assert found.readonly
