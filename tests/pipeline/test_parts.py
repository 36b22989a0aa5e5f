from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unlabeled.pipeline import discover
from unlabeled.pipeline.config import PartSettings
from unlabeled.pipeline.decode.decoder_file import DecoderFile
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.manifest import load_tables, require_manifest
from unlabeled.pipeline.parts import cut_sources, part_names, shares_num_bytes, whole_sources
from unlabeled.pipeline.rederive import SecondOpinion, rederive
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.task import Modality
from unlabeled.pipeline.verify import verify

from tests import planted, samples, small_datasets
from tests.small_datasets import inventory_rows

SMALL = PartSettings(above_num_bytes=1000, num_bytes=400)
WHOLE = PartSettings()


def cut(num_bytes: int, *keys: str, modality: Modality = Modality.TEXT, **options: Any) -> list[tuple[Any, ...]]:
    table = cut_sources(inventory_rows(keys or ["a"], num_bytes), modality, SMALL, **options)
    return [*zip(*(table[name].to_pylist() for name in ("source_key", "start", "end")), strict=True)]


def test_long_text_is_cut_by_bytes() -> None:
    assert cut(1001) == [("a", 0, 400), ("a", 400, 800), ("a", 800, 1001)]


def test_text_up_to_the_threshold_stays_whole() -> None:
    assert cut(1000) == [("a", 0, -1)]


def test_pictures_are_never_cut() -> None:
    assert cut(5000, modality=Modality.IMAGE) == [("a", 0, -1)]


def test_what_a_users_decoder_reads_is_never_cut() -> None:
    mine = DecoderFile("mine", "text", (".log",), "")
    assert [row[1:] for row in cut(1200, "a.log", "b.txt", decoder_files=[mine])] == [
        *[(0, -1), (0, 400), (400, 800), (800, 1200)]
    ]


def test_cells_of_parquet_are_never_cut() -> None:
    rows = inventory_rows(["a.parquet#0"], 5000)
    rows = rows.set_column(rows.schema.get_field_index("row_group"), "row_group", pa.array([0], pa.int32()))
    assert cut_sources(rows, Modality.TEXT, SMALL).equals(rows)


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=8))
def test_parts_cover_their_source_without_gap_or_overlap(sizes: list[int]) -> None:
    whole = pa.concat_tables([inventory_rows([f"{n:02d}"], size) for n, size in enumerate(sizes)])
    rows = cut_sources(whole, Modality.TEXT, SMALL)
    assert rows.schema.equals(whole.schema)
    for key, size in zip(whole["source_key"].to_pylist(), sizes, strict=True):
        bounds = [(row["start"], row["end"]) for row in rows.to_pylist() if row["source_key"] == key]
        starts, ends = [start for start, _ in bounds], [size if end < 0 else end for _, end in bounds]
        assert [*starts, size] == [0, *ends]
    assert whole_sources(rows).equals(whole)
    assert cut_sources(rows, Modality.TEXT, SMALL).equals(rows)
    assert len(set(part_names(rows).to_pylist())) == rows.num_rows


def test_a_source_that_grows_keeps_the_places_where_its_parts_start() -> None:
    before, after = cut(1001), cut(2000)
    assert [start for _, start, _ in before] == [start for _, start, _ in after][: len(before)]


def test_parts_share_the_bytes_of_their_source() -> None:
    rows = pa.concat_tables(
        [inventory_rows(["a"], 10), cut_sources(inventory_rows(["b"], 1001), Modality.TEXT, SMALL)]
    )
    assert shares_num_bytes(rows).tolist() == [10, 334, 334, 334]


def test_a_whole_source_is_named_by_its_key() -> None:
    assert part_names(inventory_rows(["a", "b"])).to_pylist() == ["a", "b"]


TEXT_TASKS = {"text_masked_tokens": {"max_tokens": 64}, "text_sentence_order": {}}


def write_texts(folder: Path, num_lines: int = 60) -> Path:
    lines = [json.dumps({"text": samples.document_item(number, 12).text}) for number in range(num_lines)]
    texts = {f"{number}.txt": samples.document_item(100 + number, 60).text.encode() for number in range(3)}
    return small_datasets.fill(folder, {"many.jsonl": "\n".join(lines).encode(), **texts})


def rows_of(store: Store) -> list[dict[str, Any]]:
    shards = load_tables(store, require_manifest(store), "shards").shards
    tables = [pq.read_table(str(store.local_path(name))) for name in shards["file"].to_pylist() if name]
    rows: list[dict[str, Any]] = pa.concat_tables(tables).sort_by("example_id").to_pylist()
    return rows


def parts_of(store: Store, key: str) -> list[dict[str, Any]]:
    parts = load_tables(store, require_manifest(store), "parts").parts.sort_by("start").to_pylist()
    return [part for part in parts if part["source_key"] == key]


PARTS = PartSettings(above_num_bytes=20_000, num_bytes=10_000)
#: These say how it was read and made, and differ with the settings.
LINEAGE = ("recipe_hash", "source_sha256")


@pytest.mark.parametrize("task", TEXT_TASKS)
def test_rows_of_a_cut_text_are_those_of_the_whole(task: str, tmp_path: Path) -> None:
    sources = write_texts(tmp_path / "in")
    stores = [
        planted.build(task, sources, tmp_path / f"out{n}", parts=parts) for n, parts in enumerate((PARTS, WHOLE))
    ]
    assert len(parts_of(stores[0], "many.jsonl")) > 4
    cut_rows, whole_rows = ([{**row, **dict.fromkeys(LINEAGE)} for row in rows_of(store)] for store in stores)
    assert len(cut_rows) > 20
    assert cut_rows == whole_rows


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store]:
    folder = tmp_path_factory.mktemp("masked")
    sources = write_texts(folder / "in")
    return sources, planted.build("text_masked_tokens", sources, folder / "out", parts=PARTS)


def test_every_part_is_a_source_that_is_accounted_for(masked: tuple[Path, Store]) -> None:
    _, store = masked
    manifest = require_manifest(store)
    num_parts = sum(len(parts_of(store, key)) for key in ("many.jsonl", "0.txt", "1.txt", "2.txt"))
    assert manifest.counts.num_sources == num_parts
    # The last part of a text may begin behind its last line.
    assert manifest.counts.num_used + manifest.counts.num_filtered == num_parts
    assert manifest.counts.num_filtered <= 1
    assert {part["split"] for part in parts_of(store, "many.jsonl")} == {"train"}


def test_verify_and_rederive_find_nothing_wrong(masked: tuple[Path, Store]) -> None:
    sources, store = masked
    manifest = require_manifest(store)
    findings = verify(store)
    assets = {name: store.get(f"_assets/{sha256}") for name, sha256 in manifest.assets.items()}
    task = discover.make_task(discover.find_task(manifest.task), manifest.recipe.task.settings).with_assets(assets)
    with Fence(manifest.recipe.limits, manifest.recipe.decode) as fence:
        done = rederive(store, manifest, SecondOpinion(task, Store.open(str(sources)), fence), findings, fraction=1.0)
    assert findings.problems == []
    assert (done.num_rows, done.changed) == (manifest.counts.num_examples, [])


def test_a_row_outside_its_part_is_found(masked: tuple[Path, Store], tmp_path: Path) -> None:
    sources, _ = masked
    copy = Store.open(str(shutil.copytree(sources.parent / "out", tmp_path / "out")))

    def move(rows: list[dict[str, Any]]) -> None:
        row = next(row for row in rows if row["source_key"] == "many.jsonl")
        row["segment"] = 10**9

    planted.forge(copy, move, tmp_path)
    assert "lineage" in {problem.check for problem in verify(copy).problems}


def test_after_an_increment_the_rows_are_those_of_a_clean_build(tmp_path: Path) -> None:
    sources = write_texts(tmp_path / "in")
    store = planted.build("text_sentence_order", sources, tmp_path / "out", parts=PARTS)
    before = {part["start"]: part["end"] for part in parts_of(store, "many.jsonl")}
    longer = [json.dumps({"text": samples.document_item(number, 12).text}) for number in range(5, 90)]
    (sources / "many.jsonl").write_text("\n".join(longer))
    (sources / "1.txt").write_text(samples.document_item(7, 12).text)  # so short that it is whole now
    store = planted.build("text_sentence_order", sources, tmp_path / "out", parts=PARTS)
    assert require_manifest(store).version == 2
    assert [part["end"] for part in parts_of(store, "1.txt")] == [-1]
    assert before.keys() < {part["start"] for part in parts_of(store, "many.jsonl")}
    clean = planted.build("text_sentence_order", sources, tmp_path / "clean", parts=PARTS)
    # The tokenizer is frozen in version 1, so texts are compared, not their tokens.
    names = ("example_id", "source_key", "segment", "draw", "label")
    assert [[row[name] for name in names] for row in rows_of(store)] == [
        [row[name] for name in names] for row in rows_of(clean)
    ]
    assert verify(store).problems == []


def test_a_broken_line_rejects_its_part_alone(tmp_path: Path) -> None:
    sources = write_texts(tmp_path / "in")
    data = (sources / "many.jsonl").read_bytes()
    (sources / "many.jsonl").write_bytes(data[:-20])
    store = planted.build("text_masked_tokens", sources, tmp_path / "out", parts=PARTS)
    (broken,) = [part for part in parts_of(store, "many.jsonl") if part["status"] == "rejected"]
    rejects = load_tables(store, require_manifest(store), "rejects").rejects.to_pylist()
    assert [(reject["source_key"], reject["start"]) for reject in rejects] == [("many.jsonl", broken["start"])]
    assert broken["start"] <= data.rindex(b"\n") < broken["end"]
