"""The node's cache: whole or absent, checked, bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from unlabeled.trainers.cache import Cache, CacheSettings

DIGEST = "ab" * 32


def cache(folder: Path, max_num_bytes: int = 10**6) -> Cache:
    return Cache(CacheSettings(folder=folder / "cache", max_num_bytes=max_num_bytes))


def never() -> bytes:
    raise AssertionError("fetched again")


def test_a_range_is_fetched_once(tmp_path: Path) -> None:
    assert cache(tmp_path).get(DIGEST, 4, 3, lambda: b"abc") == b"abc"
    assert cache(tmp_path).get(DIGEST, 4, 3, never) == b"abc"


@pytest.mark.parametrize("damage", [b"", b"abX", b"x" * 35])
def test_what_has_been_damaged_is_fetched_again(tmp_path: Path, damage: bytes) -> None:
    kept = cache(tmp_path)
    kept.get(DIGEST, 0, 3, lambda: b"abc")
    (path,) = (tmp_path / "cache").iterdir()
    path.write_bytes(damage)
    assert kept.get(DIGEST, 0, 3, lambda: b"abc") == b"abc"
    assert kept.get(DIGEST, 0, 3, never) == b"abc"


def test_a_short_reply_is_not_kept(tmp_path: Path) -> None:
    assert cache(tmp_path).get(DIGEST, 0, 3, lambda: b"ab") == b"ab"
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    kept = cache(tmp_path)
    for start in range(4):
        kept.get(DIGEST, start, 100, lambda: b"x" * 100)
        os.utime(tmp_path / "cache" / f"{DIGEST}-{start}-100", (start, start))
    kept.get(DIGEST, 0, 100, never)
    cache(tmp_path, max_num_bytes=300)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == [
        f"{DIGEST}-{start}-100" for start in (0, 3)
    ]


def test_a_full_cache_stays_within_its_bound(tmp_path: Path) -> None:
    kept = cache(tmp_path, max_num_bytes=1000)
    for start in range(50):
        kept.get(DIGEST, start, 100, lambda: b"x" * 100)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir()) <= 1000


def test_a_failed_fetch_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        cache(tmp_path).get(DIGEST, 0, 3, never)
    assert list((tmp_path / "cache").iterdir()) == []
