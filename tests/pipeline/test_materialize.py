from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq
import pytest
from unlabeled.pipeline.config import RejectLimits, RunSettings
from unlabeled.pipeline.decode.fence import Fence
from unlabeled.pipeline.decode.limits import DecodeOptions, Limits
from unlabeled.pipeline.errors import ConfigError, Conflict, CorruptData, TooManyRejects, UnlabeledError
from unlabeled.pipeline.items import Image
from unlabeled.pipeline.ledger import listed_receipts
from unlabeled.pipeline.manifest import Manifest, files_of, load_tables, require_manifest, versions
from unlabeled.pipeline.materialize import Tally, load_base, materialize, work_units
from unlabeled.pipeline.plan_store import unpublished_plan
from unlabeled.pipeline.rng import sha256_hex
from unlabeled.pipeline.shard import Target
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.work import Tools, WorkUnit

from tests.small_datasets import Neighbours, Quiet, Tiny, execute_here, fill, jpeg, make, request, target

FILES = {f"{number % 4}/{number}.jpg": jpeg(number) for number in range(16)}


@pytest.fixture(scope="module")
def fence() -> Iterator[Fence]:
    with Fence(Limits(), DecodeOptions()) as opened:
        yield opened


@pytest.fixture
def tools(fence: Fence, tmp_path: Path) -> Tools:
    (tmp_path / "spool").mkdir()
    return Tools(fence, tmp_path / "spool", ThreadPoolExecutor(1))


@pytest.fixture
def inputs(tmp_path: Path) -> Store:
    return Store.open(str(fill(tmp_path / "in", FILES)))


@pytest.fixture
def out(tmp_path: Path) -> Target:
    return target(tmp_path / "out")


def rows_of(of: Target) -> list[dict[str, Any]]:
    """Return the rows of the newest version by example_id."""
    tables = load_tables(of.store, require_manifest(of.store), "shards")
    paths = [of.store.local_path(key) for key in files_of(tables)]
    rows = [row for path in paths if path for row in pq.ParquetFile(path).read().to_pylist()]
    return sorted(rows, key=lambda row: str(row["example_id"]))


def shards_of(manifest: Manifest, of: Target) -> dict[str, str]:
    """Return file -> sha256 of a version's shards."""
    shards = load_tables(of.store, manifest, "shards").shards
    return dict(zip(shards["file"].to_pylist(), shards["sha256"].to_pylist(), strict=True))


def test_a_dataset_is_made_of_all_sources(inputs: Store, out: Target, tools: Tools) -> None:
    done = make(out, inputs, tools)
    assert done.manifest == require_manifest(out.store)
    assert (done.manifest.version, done.tally.published) == (1, [1])
    assert done.manifest.counts.num_used == len(FILES)
    rows = rows_of(out)
    assert len(rows) == done.manifest.counts.num_examples == 2 * len(FILES)
    assert {row["source_key"]: row["source_sha256"] for row in rows} == {
        key: sha256_hex(data) for key, data in FILES.items()
    }
    assert done.tally.num_bytes_in == sum(map(len, FILES.values()))


def test_a_second_run_does_nothing(inputs: Store, out: Target, tools: Tools) -> None:
    first = make(out, inputs, tools)
    again = make(out, inputs, tools)
    assert again.manifest == first.manifest
    assert (again.tally.published, again.tally.num_shards_made) == ([], 0)
    assert versions(out.store) == [1]


def test_the_same_inputs_elsewhere_give_the_same_dataset(
    tmp_path: Path, inputs: Store, out: Target, tools: Tools
) -> None:
    elsewhere = Store.open(str(fill(tmp_path / "copy", dict(reversed(FILES.items())))))
    copy = target(tmp_path / "copied")
    first, second = make(out, inputs, tools).manifest, make(copy, elsewhere, tools).manifest
    assert first.fingerprint == second.fingerprint
    assert shards_of(first, out) == shards_of(second, copy)


class Killed(Exception):
    """Stands for SIGKILL: nothing of ours catches it."""


def dying_after(num_shards: int, inputs: Store, tools: Tools) -> Callable[..., Iterator[Mapping[str, Any]]]:
    def execute(targets: Sequence[Target], units: Sequence[WorkUnit]) -> Iterator[Mapping[str, Any]]:
        for number, row in enumerate(execute_here(inputs, tools)(targets, units), 1):
            if number > num_shards:
                raise Killed
            yield row

    return execute


def test_a_killed_run_is_finished_first_and_then_what_has_come_since(
    tmp_path: Path, inputs: Store, out: Target, tools: Tools
) -> None:
    with pytest.raises(Killed):
        materialize(request([out], inputs), dying_after(1, inputs, tools), Quiet())
    assert versions(out.store) == []
    num_done = len(listed_receipts(out.store))
    inputs.put("new.jpg", jpeg(99))
    done = make(out, inputs, tools)
    assert versions(out.store) == [1, 2]
    assert (done.tally.published, done.tally.num_skipped_shards) == ([1, 2], num_done)
    clean = target(tmp_path / "clean")
    reference = Store.open(str(fill(tmp_path / "reference", FILES)))
    first = make(clean, reference, tools).manifest
    assert require_manifest(out.store, 1).fingerprint == first.fingerprint


def test_replan_abandons_what_was_left(inputs: Store, out: Target, tools: Tools) -> None:
    with pytest.raises(Killed):
        materialize(request([out], inputs), dying_after(1, inputs, tools), Quiet())
    inputs.put("new.jpg", jpeg(99))
    done = make(out, inputs, tools, replan=True)
    assert done.tally.published == [1]
    assert done.manifest.counts.num_sources == len(FILES) + 1
    assert unpublished_plan(out.store, 1) is None


def test_what_was_left_is_not_finished_with_other_settings(inputs: Store, out: Target, tools: Tools) -> None:
    with pytest.raises(Killed):
        materialize(request([out], inputs), dying_after(1, inputs, tools), Quiet())
    other = replace(out, recipe=out.recipe.model_copy(update={"seed": 5}))
    with pytest.raises(ConfigError, match=r"setting `seed`: found 5, but the unfinished run in .* \(--replan"):
        make(other, inputs, tools)
    assert make(other, inputs, tools, replan=True).manifest.recipe.seed == 5


def test_what_was_left_is_not_finished_from_another_input(
    tmp_path: Path, inputs: Store, out: Target, tools: Tools
) -> None:
    with pytest.raises(Killed):
        materialize(request([out], inputs), dying_after(1, inputs, tools), Quiet())
    elsewhere = Store.open(str(fill(tmp_path / "copy", FILES)))
    with pytest.raises(ConfigError, match=r"`--input`: found '.*copy', but the unfinished run .* reads '.*in'"):
        make(out, elsewhere, tools)
    assert make(out, elsewhere, tools, replan=True).manifest.input_uri == elsewhere.uri


def test_new_sources_leave_shards_alone(inputs: Store, out: Target, tools: Tools) -> None:
    before = shards_of(make(out, inputs, tools).manifest, out)
    inputs.put("new.jpg", jpeg(99))
    done = make(out, inputs, tools)
    after = shards_of(done.manifest, out)
    assert before.items() <= after.items()
    assert done.tally.num_shards_made == len(after) - len(before) == 1
    assert (done.manifest.version, done.manifest.base_version, done.manifest.generation) == (2, 1, 2)


@pytest.mark.parametrize("change", ["deleted", "changed"])
def test_a_changed_or_deleted_source_touches_its_shard_only(
    tmp_path: Path, inputs: Store, out: Target, tools: Tools, change: str
) -> None:
    before = shards_of(make(out, inputs, tools).manifest, out)
    if change == "deleted":
        inputs.delete(["1/1.jpg"])
    else:
        inputs.put("1/1.jpg", jpeg(77))
    done = make(out, inputs, tools)
    after = shards_of(done.manifest, out)
    assert len(before.items() - after.items()) == done.tally.num_shards_made == 1
    clean = target(tmp_path / "clean")
    make(clean, inputs, tools)
    assert rows_of(out) == rows_of(clean)
    assert make(out, inputs, tools).tally.published == []


def test_content_that_comes_back_is_planned_anew(inputs: Store, out: Target, tools: Tools) -> None:
    first = make(out, inputs, tools)
    inputs.put("1/1.jpg", jpeg(77))
    make(out, inputs, tools)
    inputs.put("1/1.jpg", FILES["1/1.jpg"])
    make(out, inputs, tools)
    back = {row["source_key"]: row["source_sha256"] for row in rows_of(out)}
    assert back["1/1.jpg"] == sha256_hex(FILES["1/1.jpg"])
    assert first.manifest.counts.num_examples == len(rows_of(out))


def test_a_source_that_comes_back_with_other_content_has_no_stale_rows(
    inputs: Store, out: Target, tools: Tools
) -> None:
    make(out, inputs, tools)
    everything = list(FILES)
    inputs.put("x.jpg", jpeg(1))
    make(out, inputs, tools)
    inputs.delete(["x.jpg"])
    make(out, inputs, tools)
    # Alone in its generation again: the same shard_id as before, but for the content.
    inputs.put("x.jpg", jpeg(2))
    make(out, inputs, tools)
    (sha256,) = {row["source_sha256"] for row in rows_of(out) if row["source_key"] not in everything}
    assert sha256 == sha256_hex(jpeg(2))


def test_another_etag_of_the_same_content_is_no_change(inputs: Store, out: Target, tools: Tools) -> None:
    make(out, inputs, tools)
    inputs.put("1/1.jpg", FILES["1/1.jpg"])
    hashed: list[str] = []

    def hash_sources(sources: Any) -> Mapping[str, str]:
        hashed.extend(sources["source_key"].to_pylist())
        return {key: sha256_hex(FILES[key]) for key in sources["source_key"].to_pylist()}

    for _ in range(2):
        assert make(out, inputs, tools, hash_sources=hash_sources).tally.published == []
    assert hashed == ["1/1.jpg"]


def test_rebuild_plans_from_nothing_and_makes_only_what_differs(inputs: Store, out: Target, tools: Tools) -> None:
    first = make(out, inputs, tools)
    inputs.put("new.jpg", jpeg(99))
    make(out, inputs, tools)
    inputs.delete(["new.jpg"])
    again = make(out, inputs, tools, rebuild=True)
    assert again.manifest.version == 3
    assert again.manifest.fingerprint == first.manifest.fingerprint
    assert (again.tally.num_shards_made, again.tally.num_skipped_shards) == (0, first.tally.num_shards_made)


def test_a_rebuild_does_not_take_receipts_of_old_content(inputs: Store, out: Target, tools: Tools) -> None:
    make(out, inputs, tools)
    inputs.put("1/1.jpg", jpeg(77))
    make(out, inputs, tools)
    make(out, inputs, tools, rebuild=True)
    now = {row["source_key"]: row["source_sha256"] for row in rows_of(out)}
    assert now["1/1.jpg"] == sha256_hex(jpeg(77))


def test_other_settings_are_refused_by_name(inputs: Store, out: Target, tools: Tools) -> None:
    make(out, inputs, tools)
    for change, name in [({"seed": 1}, "seed"), ({"val_fraction": 0.5}, "val_fraction")]:
        other = replace(out, recipe=out.recipe.model_copy(update=change))
        with pytest.raises(ConfigError, match=f"setting `{name}`: found .* was made with"):
            make(other, inputs, tools)


def test_another_input_is_refused_unless_rebuilt(tmp_path: Path, inputs: Store, out: Target, tools: Tools) -> None:
    first = make(out, inputs, tools)
    elsewhere = Store.open(str(fill(tmp_path / "copy", FILES)))
    with pytest.raises(ConfigError, match=r"`--input`: found '.*copy', but .* was made from '.*in'"):
        make(out, elsewhere, tools)
    moved = make(out, elsewhere, tools, rebuild=True)
    assert moved.manifest.fingerprint == first.manifest.fingerprint
    assert moved.tally.num_shards_made == 0


def test_rejects_over_the_limit_publish_nothing_and_are_kept(inputs: Store, out: Target, tools: Tools) -> None:
    for number in range(4):
        inputs.put(f"broken/{number}.jpg", b"no picture")
    strict = RunSettings(rejects=RejectLimits(max_rejects_min=3, max_reject_fraction=0.1))
    with pytest.raises(TooManyRejects, match=r"4 of 20 sources were rejected \(4 unidentified\); at most 3 may"):
        make(out, inputs, tools, run=strict)
    assert versions(out.store) == []
    lenient = RunSettings(rejects=RejectLimits(max_rejects_min=4))
    done = make(out, inputs, tools, run=lenient)
    assert (done.tally.num_shards_made, done.manifest.counts.num_rejected) == (0, 4)
    assert done.manifest.counts.rejected_by_reason == {"unidentified": 4}


def test_a_run_without_any_example_publishes_nothing(tmp_path: Path, out: Target, tools: Tools) -> None:
    tiny = Store.open(str(fill(tmp_path / "tiny", {"a.png": jpeg(0, 2, 2)})))
    with pytest.raises(UnlabeledError, match=r"no example: none of 1 sources could be used \(1 too_small\)"):
        make(out, tiny, tools)
    assert versions(out.store) == []


def test_of_two_writers_one_wins_and_the_other_harms_nothing(inputs: Store, out: Target, tools: Tools) -> None:
    make(out, inputs, tools)
    inputs.put("new.jpg", jpeg(99))

    def overtaken(targets: Sequence[Target], units: Sequence[WorkUnit]) -> Iterator[Mapping[str, Any]]:
        inputs.put("newer.jpg", jpeg(98))
        make(out, inputs, tools)
        yield from execute_here(inputs, tools)(targets, units)

    with pytest.raises(Conflict, match="another writer published version 2"):
        materialize(request([out], inputs), overtaken, Quiet())
    assert versions(out.store) == [1, 2, 3]
    assert {row["source_key"] for row in rows_of(out)} == {*FILES, "new.jpg", "newer.jpg"}


def test_a_version_whose_file_is_missing_is_not_published(inputs: Store, out: Target, tools: Tools) -> None:
    def losing(targets: Sequence[Target], units: Sequence[WorkUnit]) -> Iterator[Mapping[str, Any]]:
        yield from execute_here(inputs, tools)(targets, units)
        out.store.delete([info.key for page in out.store.list("data/train") for info in page])

    with pytest.raises(CorruptData, match=r"data/train/.* is missing"):
        materialize(request([out], inputs), losing, Quiet())
    assert versions(out.store) == []


def test_shards_that_no_one_made_are_noticed(inputs: Store, out: Target) -> None:
    with pytest.raises(UnlabeledError, match=r"5 of 5 shards were not made .*; run it again"):
        materialize(request([out], inputs), lambda targets, units: iter(()), Quiet())


def test_a_transient_reject_is_tried_again_alone(inputs: Store, out: Target, tools: Tools) -> None:
    def losing(targets: Sequence[Target], units: Sequence[WorkUnit]) -> Iterator[Mapping[str, Any]]:
        inputs.delete(["1/1.jpg"])
        yield from execute_here(inputs, tools)(targets, units)

    (first,) = materialize(request([out], inputs), losing, Quiet())
    assert first.manifest.counts.rejected_by_reason == {"missing": 1}
    inputs.put("1/1.jpg", FILES["1/1.jpg"])
    second = make(out, inputs, tools)
    assert second.manifest.counts.num_used == len(FILES)
    assert second.tally.num_shards_made == 1
    assert shards_of(first.manifest, out).items() <= shards_of(second.manifest, out).items()


def test_several_datasets_share_reads_and_equal_single_runs(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    tasks = [Tiny(), Tiny(num_draws=3), Neighbours()]
    together = [target(tmp_path / "together" / str(number), task) for number, task in enumerate(tasks)]
    alone = [target(tmp_path / "alone" / str(number), task) for number, task in enumerate(tasks)]
    done = materialize(request(together, inputs), execute_here(inputs, tools), Quiet())
    singles = [make(of, inputs, tools) for of in alone]
    assert [each.manifest.fingerprint for each in done] == [each.manifest.fingerprint for each in singles]


def test_shards_of_several_datasets_that_share_sources_are_one_unit(tmp_path: Path, inputs: Store) -> None:
    units: list[WorkUnit] = []

    def watching(targets: Sequence[Target], made: Sequence[WorkUnit]) -> Iterator[Mapping[str, Any]]:
        units.extend(made)
        raise Killed
        yield

    targets = [target(tmp_path / "one"), target(tmp_path / "two", Tiny(num_draws=3))]
    with pytest.raises(Killed):
        materialize(request(targets, inputs), watching, Quiet())
    num_jobs = [len([job for unit in units for job in unit.jobs if job.target == number]) for number in (0, 1)]
    assert num_jobs == [5, 5]
    assert all({job.target for job in unit.jobs} == {0, 1} for unit in units)
    assert all(unit.weight == sum(job.shard["num_parts"] for job in unit.jobs) for unit in units)


def test_work_that_is_done_is_skipped(inputs: Store, out: Target, tools: Tools) -> None:
    with pytest.raises(Killed):
        materialize(request([out], inputs), dying_after(2, inputs, tools), Quiet())
    plan = unpublished_plan(out.store, 0)

    tally = Tally()
    units = work_units([out], [plan], [tally])
    assert tally.num_skipped_shards == 3
    assert {job.shard["shard_id"] for unit in units for job in unit.jobs}.isdisjoint(listed_receipts(out.store))


@dataclass(frozen=True)
class Learned(Tiny):
    """Needs an asset, which is its payload."""

    asset: bytes = b""

    def make_assets(self, sample: Any) -> Mapping[str, bytes]:
        return {"table": b"table of %d" % len(list(sample()))}

    def with_assets(self, assets: Mapping[str, bytes]) -> Self:
        return replace(self, asset=assets["table"])

    def examples(self, item: Image, rng: Any) -> Iterator[Any]:
        for example in Tiny.examples(self, item, rng):
            yield replace(example, values={**example.values, "payload": self.asset})


def test_assets_are_frozen_in_the_first_version(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    of = target(tmp_path / "out", Learned())
    first = make(of, inputs, tools)
    assert first.manifest.assets == {"table": sha256_hex(b"table of 1")}
    inputs.put("new.jpg", jpeg(99))
    second = make(of, inputs, tools, make_assets=lambda of, _: {"table": b"another"})
    assert second.manifest.assets == first.manifest.assets
    assert {row["payload"] for row in rows_of(of)} == {b"table of 1"}


def test_a_damaged_asset_is_refused_by_name(tmp_path: Path, inputs: Store, tools: Tools) -> None:
    of = target(tmp_path / "out", Learned())
    first = make(of, inputs, tools)
    of.store.put(f"_assets/{first.manifest.assets['table']}", b"tuble of 1")
    inputs.put("new.jpg", jpeg(99))
    with pytest.raises(CorruptData, match=r"_assets/.*the file is damaged"):
        make(of, inputs, tools)


def test_the_card_lists_the_newest_version(inputs: Store, out: Target, tools: Tools) -> None:
    make(out, inputs, tools)
    inputs.put("new.jpg", jpeg(99))
    done = make(out, inputs, tools)
    card = out.store.get("README.md").decode()
    assert all(name in card for name in shards_of(done.manifest, out))


def test_a_run_with_nothing_new_repairs_the_card(inputs: Store, out: Target, tools: Tools) -> None:
    make(out, inputs, tools)
    card = out.store.get("README.md")
    out.store.put("README.md", b"of an earlier version")
    make(out, inputs, tools)
    assert out.store.get("README.md") == card


def test_a_licence_changes_the_card_alone(inputs: Store, out: Target, tools: Tools) -> None:
    first = make(out, inputs, tools).manifest
    again = make(out, inputs, tools, run=RunSettings(licence="cc-by-4.0"))
    assert (again.manifest, again.tally.published) == (first, [])
    assert b"license: cc-by-4.0\n" in out.store.get("README.md")
    inputs.put("new.jpg", jpeg(99))
    assert make(out, inputs, tools).manifest.version == 2
    assert b"license: cc-by-4.0\n" in out.store.get("README.md")


def test_nothing_stands_there_yet(out: Target) -> None:
    base = load_base(out)
    assert (base.manifest, base.version, base.tables.parts.num_rows) == (None, 0, 0)


def test_progress_says_how_much_there_is(inputs: Store, out: Target, tools: Tools) -> None:
    progress = Quiet()
    materialize(request([out], inputs), execute_here(inputs, tools), progress)
    assert progress.num_planned == [(5, 0, len(FILES))]
    assert progress.phases == ["listing the sources", "planning 16 sources", "publishing version 1"]
