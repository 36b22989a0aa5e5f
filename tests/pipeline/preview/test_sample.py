from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from unlabeled.pipeline.errors import CorruptData, NotFound
from unlabeled.pipeline.features import Features, image, value, with_envelope
from unlabeled.pipeline.manifest import files_of, load_tables, require_manifest
from unlabeled.pipeline.preview.sample import Sample, label_of, leaves, read_sample, size, size_text
from unlabeled.pipeline.storage import Store

from tests.pipeline.preview.shown import FILES, make_dataset


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make_dataset(tmp_path, FILES)


def sample_of(store: Store, **limits: int) -> Sample:
    manifest = require_manifest(store)
    return read_sample(store, manifest, load_tables(store, manifest), **limits)


def test_rows_of_a_small_dataset_are_read_whole(store: Store) -> None:
    manifest, sample = require_manifest(store), sample_of(store)
    assert len({row["example_id"] for row in sample.rows}) == len(sample.rows) == manifest.counts.num_examples
    assert sample.labels == Counter({"0": 14, "90": 14, "180": 14, "270": 14})


def test_no_more_is_read_than_allowed(store: Store) -> None:
    sample = sample_of(store, max_num_bytes=1)
    assert sample.num_row_groups == 1
    assert 0 < len(sample.rows) < require_manifest(store).counts.num_examples
    assert sample.num_label_rows == 56


def test_the_same_dataset_gives_the_same_sample(store: Store) -> None:
    assert sample_of(store) == sample_of(store)


def test_a_changed_byte_is_found(store: Store) -> None:
    path = store.local_path(files_of(load_tables(store, require_manifest(store), "shards"))[0])
    assert path is not None
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xd8\xff")
    data[at + 100] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(CorruptData, match=path.name):
        sample_of(store)


def test_a_missing_file_is_named(store: Store) -> None:
    key = files_of(load_tables(store, require_manifest(store), "shards"))[0]
    store.delete([key])
    with pytest.raises(NotFound, match=key):
        sample_of(store)


def test_a_damaged_footer_is_found(store: Store) -> None:
    path = store.local_path(files_of(load_tables(store, require_manifest(store), "shards"))[0])
    assert path is not None
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(CorruptData, match="footer"):
        sample_of(store)


def test_a_row_group_is_read_in_two_requests(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    ranged = type(store).get_range
    keys: list[str] = []

    def get_range(self: Store, key: str, start: int, length: int, etag: str = "") -> bytes:
        keys.append(key)
        return ranged(self, key, start, length, etag)

    monkeypatch.setattr(type(store), "get_range", get_range)
    sample = sample_of(store)
    assert len(keys) == 2 * sample.num_row_groups


@pytest.mark.s3
def test_a_dataset_in_a_bucket_gives_the_same_sample(store: Store, s3: Any) -> None:
    local = sample_of(store)
    remote = Store.open(f"{s3.uri}/dataset", s3.options)
    for page in store.list():
        for info in page:
            remote.put(info.key, store.get(info.key))
    assert sample_of(remote) == local


def test_the_label_of_a_row_is_its_name_where_it_has_one() -> None:
    assert label_of({"label": 1, "label_name": "dog"}) == "dog"
    assert label_of({"label": 0.5}) == 0.5
    assert label_of({}) is None


def test_size_is_that_of_the_media_else_tokens_else_text() -> None:
    pictures = with_envelope(Features.of(stills=image("stills", shape=(None,)), words=value("string", "input", "w")))
    assert size(pictures, {"stills": [{"bytes": b"12"}, {"bytes": b"345"}], "words": "w"}) == 5
    tokens = Features.of(attention_mask=value("int8", "input", "1 for tokens", shape=(None,)))
    assert size(tokens, {"attention_mask": [1, 1, 0]}) == 2
    assert size_text(tokens)(2.0) == "2 tokens"
    text = Features.of(words=value("string", "input", "words"))
    assert size(text, {"words": "é"}) == 2
    assert size_text(text)(2.0) == "2 B"


def test_leaves_of_nested_lists_stand_in_order() -> None:
    nested = image("clips", shape=(2, None))
    assert leaves(nested, [["a", "b"], ["c"]]) == ["a", "b", "c"]
    assert leaves(nested, None) == []
