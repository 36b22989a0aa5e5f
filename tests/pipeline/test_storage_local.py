from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from unlabeled.pipeline.errors import AlreadyExists, NotFound, PermissionDenied, StoreError
from unlabeled.pipeline.storage import Store
from unlabeled.pipeline.storage_local import LocalStore


def listed(store: Store) -> dict[str, bool]:
    return {info.key: info.is_supported for page in store.list() for info in page}


def test_names_that_other_clients_drop_are_listed_and_read(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for key in ("name#12", "new\nline", "tab\t", "back\\slash", "%2F"):
        (tmp_path / key).write_bytes(key.encode())
    assert listed(store) == dict.fromkeys(("name#12", "new\nline", "tab\t", "back\\slash", "%2F"), True)
    assert all(store.get(key) == key.encode() for key in listed(store))


def test_a_name_that_is_not_utf8_is_reported(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"bad\xff")).mkdir()
    (tmp_path / os.fsdecode(b"bad\xff/a\xfe.jpg")).write_bytes(b"123")
    [[info]] = Store.open(tmp_path).list()
    assert (info.key, info.num_bytes, info.is_supported) == ("bad\\xff/a\\xfe.jpg", 3, False)


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_bytes(b"1")
    (tmp_path / "to_file").symlink_to("a/x")
    (tmp_path / "to_folder").symlink_to("a")
    (tmp_path / "a/loop").symlink_to("..")
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "dangling").symlink_to("nowhere")
    found = listed(Store.open(tmp_path))
    good = {key for key, is_supported in found.items() if is_supported}
    assert good == {"a/x", "to_file", "to_folder/x"}
    assert set(found) - good == {"a/loop", "to_folder/loop", "self", "dangling"}


def test_a_pipe_is_reported_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert listed(Store.open(tmp_path)) == {"pipe": False}


def test_a_folder_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert list(Store.open(tmp_path / "nope").list()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_permissions_are_named(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0)
    with pytest.raises(PermissionDenied, match="shut"):
        list(Store.open(tmp_path).list())
    with pytest.raises(PermissionDenied, match="shut/x"):
        Store.open(tmp_path).create("shut/x", b"")


@pytest.mark.parametrize("key", ["../outside", "a/../../outside", "/etc/passwd", "a\0b"])
def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    store = Store.open(tmp_path / "root")
    assert not store.can_name(key)
    for use in (store.get, store.head, lambda key: store.put(key, b"x"), lambda key: store.delete([key])):
        with pytest.raises(StoreError, match="inside this folder"):
            use(key)


def test_the_file_behind_a_key(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.create("a/b", b"x")
    path = store.local_path("a/b")
    assert path is not None
    assert path.read_bytes() == b"x"


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from unlabeled.pipeline.storage import Store; Store.open(sys.argv[1]).create('k', bytes(5000))"
    )
    done = subprocess.run([sys.executable, "-c", limited, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "StoreError" in done.stderr
    assert "File too large" in done.stderr
    assert listed(store) == {}
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_a_whole_object_or_none(tmp_path: Path) -> None:
    script = (
        "import sys; from unlabeled.pipeline.storage import Store; store = Store.open(sys.argv[1])\n"
        "print('go', flush=True)\n"
        "for n in range(100000): store.create(f'k{n}', bytes(200_000))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "root")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.3)
        writer.send_signal(signal.SIGKILL)
    store = Store.open(tmp_path / "root")
    infos = [info for page in store.list() for info in page]
    assert infos
    assert {info.num_bytes for info in infos} == {200_000}
    left = list(store.pending())
    assert len(left) <= 1
    for pending in left:
        store.abort(pending)
    assert list(store.pending()) == []


def test_only_an_unfinished_write_can_be_aborted(tmp_path: Path) -> None:
    from unlabeled.pipeline.storage import PendingWrite

    store = Store.open(tmp_path)
    store.create("k", b"x")
    with pytest.raises(ValueError, match="no unfinished write"):
        store.abort(PendingWrite("k", store.head("k").last_modified))
    (tmp_path / ".0123456789abcdef.unlabeled-tmp").write_bytes(b"half")
    assert listed(store) == {"k": True}
    [pending] = store.pending()
    store.abort(pending)
    store.abort(pending)
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


def test_an_existing_folder_is_no_object(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.create("a/b", b"x")
    with pytest.raises(NotFound, match="directory"):
        store.get("a")
    with pytest.raises(AlreadyExists):
        store.create("a", b"x")


@pytest.mark.parametrize("key", ["a/b", "a/b/c"])
def test_a_file_is_no_folder(tmp_path: Path, key: str) -> None:
    store = Store.open(tmp_path)
    store.create("a", b"x")
    for write in (store.create, store.put):
        with pytest.raises(StoreError, match="a folder on the way is a file"):
            write(key, b"y")


def test_a_file_system_without_hard_links_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: str, target: str) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", source)

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match="no hard links"):
        Store.open(tmp_path).create("k", b"x")
    assert list(tmp_path.iterdir()) == []
