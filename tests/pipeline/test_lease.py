from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import threading
import time

import pytest
from unlabeled.pipeline.errors import Conflict
from unlabeled.pipeline.lease import Pace, acquire, check_newest, live_keys, until_stopped
from unlabeled.pipeline.manifest import Manifest, load_manifest, publish, versions
from unlabeled.pipeline.storage import Store

from tests.memory_store import Memory, MemoryStore
from tests.small_datasets import recipe

#: A store's clock may count whole seconds.
QUICK = Pace(heartbeat_seconds=0.2, stale_seconds=2.0, poll_seconds=0.1)
#: For tests in which nobody is to be taken for dead, however busy the machine.
PATIENT = Pace(heartbeat_seconds=0.2, stale_seconds=3600, poll_seconds=0.1)
PATIENCE_SECONDS = 120.0


def manifest(version: int = 1, epoch: int = 0, writer: str = "a") -> Manifest:
    of = recipe()
    return Manifest(
        version=version,
        base_version=version - 1,
        generation=version,
        writer_token=writer,
        epoch=epoch,
        fingerprint="f",
        task="tiny",
        modality="image",
        objective="classification",
        features=[],
        recipe=of,
        recipe_hash=of.hash,
        assets={},
        batching="any",
        bundle_size=1,
        input_uri="in",
        plan=f"v{version - 1:08d}-x",
        splits={},
        counts={
            **dict.fromkeys(("num_sources", "num_used", "num_filtered", "num_rejected", "num_examples"), 0),
            **dict.fromkeys(("num_shards", "num_bytes", "num_skipped_markers"), 0),
            "rejected_by_reason": {},
            "filtered_by_reason": {},
        },
        tables=[],
        codec_versions={},
    )


def as_if_elsewhere(store: Store, epoch: int) -> None:
    """Let the holder be a process of another machine: nobody here can see whether it lives."""
    key = f"_leases/e{epoch:08d}.json"
    store.put(key, json.dumps({**json.loads(store.get(key)), "host": "elsewhere"}).encode())


def test_epochs_count_up_and_one_that_was_given_back_is_no_obstacle(store: Store) -> None:
    epochs = []
    for _ in range(6):
        with acquire(store, pace=QUICK) as lease:
            epochs.append(lease.epoch)
    assert epochs == [1, 2, 3, 4, 5, 6]
    kept = {info.key for page in store.list("_leases") for info in page}
    assert not [key for key in kept if "e00000001" in key]
    assert set(live_keys(store)) == {f"_leases/e00000006.{kind}" for kind in ("json", "alive", "done")}


def test_a_living_holder_is_not_disturbed(store: Store) -> None:
    with acquire(store, pace=PATIENT):
        as_if_elsewhere(store, 1)
        with pytest.raises(Conflict, match=r"another run is at work \(process \d+ on elsewhere; epoch 1"):
            acquire(store, pace=PATIENT)


def test_a_living_holder_is_waited_for(store: Store) -> None:
    first = acquire(store, pace=PATIENT)
    first.__enter__()
    threading.Timer(1.0, lambda: first.__exit__(None, None, None)).start()
    with acquire(store, wait_seconds=PATIENCE_SECONDS, pace=PATIENT) as second:
        assert second.epoch == 2


def contend(store: Store, num: int, pace: Pace) -> list[int]:
    """Return the epochs that so many get who ask at once, 0 for none; who has one holds it until all have asked."""
    won: list[int] = []
    asked = threading.Barrier(num, timeout=PATIENCE_SECONDS)

    def run() -> None:
        try:
            with acquire(store, pace=pace) as lease:
                won.append(lease.epoch)
                asked.wait()
        except Conflict:
            won.append(0)
            asked.wait()

    threads = [threading.Thread(target=run) for _ in range(num)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(won)


def test_of_many_at_once_one_wins(store: Store) -> None:
    assert contend(store, 4, PATIENT) == [0, 0, 0, 1]


def test_of_many_that_take_over_before_there_is_a_version_one_wins(store: Store) -> None:
    killed_holder(store)
    assert contend(store, 4, PATIENT) == [0, 0, 0, 2]


def test_a_first_run_that_was_taken_over_publishes_nothing() -> None:
    """No version's number can be taken for it, for there is none to copy: it is told before it publishes."""
    memory = Memory()
    store = MemoryStore(memory)
    zombie = acquire(store)
    as_if_elsewhere(store, zombie.epoch)
    memory.pass_time(100)
    assert contend(store, 3, Pace(poll_seconds=0.1)) == [0, 0, 2]
    for _ in range(6):  # so many later, its successor's files are tidied away
        acquire(store).__enter__().__exit__()
    with pytest.raises(Conflict, match="another run has taken over"):
        check_newest(store, zombie.epoch)
    assert versions(store) == []


def test_a_holder_without_life_is_taken_over_and_its_version_can_no_longer_be_published(store: Store) -> None:
    publish(store, manifest(1))
    zombie = acquire(store, pace=QUICK)
    as_if_elsewhere(store, zombie.epoch)
    time.sleep(2.5)
    with acquire(store, pace=QUICK) as lease:
        assert lease.epoch == 2
        newest = load_manifest(store)
        assert newest is not None
        assert (newest.version, newest.copied_from, newest.epoch) == (2, 1, 2)
        expected = manifest(1).model_dump(exclude={"version", "base_version", "copied_from", "epoch", "writer_token"})
        assert newest.model_dump(include=set(expected)) == expected
        with pytest.raises(Conflict, match="another run has taken over"):
            check_newest(store, zombie.epoch)
        with pytest.raises(Conflict, match="another writer published version 2 first"):
            publish(store, manifest(2, zombie.epoch, "zombie"))
        assert list(until_stopped(store, zombie.epoch, [1, 2])) == []
        check_newest(store, lease.epoch)


def test_a_version_that_came_before_the_takeover_is_what_is_copied(store: Store) -> None:
    zombie = acquire(store, pace=QUICK)
    as_if_elsewhere(store, zombie.epoch)
    publish(store, manifest(1, zombie.epoch))
    time.sleep(2.5)
    with acquire(store, pace=QUICK):
        assert versions(store) == [1, 2]


def killed_holder(store: Store) -> None:
    """Let a process of this machine take the lease and be killed."""
    code = (
        "import sys, os, signal, json; from unlabeled.pipeline.lease import acquire; "
        "from unlabeled.pipeline.storage import Store, StoreOptions; "
        "acquire(Store.open(sys.argv[1], StoreOptions(**json.loads(sys.argv[2])))).__enter__(); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    options = json.dumps(dataclasses.asdict(store.options)) if hasattr(store, "options") else "{}"
    subprocess.run([sys.executable, "-c", code, store.uri, options], check=False)


def test_a_process_of_this_machine_that_was_killed_is_taken_over_at_once(store: Store) -> None:
    killed_holder(store)
    publish(store, manifest(1))
    with acquire(store, pace=PATIENT) as lease:
        assert lease.epoch == 2
    assert versions(store) == [1]  # nobody is left who could publish: nothing to fence out


def test_workers_are_told_to_begin_nothing_new(store: Store) -> None:
    with acquire(store, pace=QUICK) as lease:
        assert list(until_stopped(store, lease.epoch, [1, 2])) == [1, 2]
        lease.stop_workers()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while list(until_stopped(store, lease.epoch, [1])) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(until_stopped(store, lease.epoch, [1])) == []
    assert list(until_stopped(store, 0, [1])) == [1]
