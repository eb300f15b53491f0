"""The store: fetched once, verified, never half-done, and nothing lost that could be continued."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import tomllib
from dataclasses import replace

import pytest

from frametx import sources
from frametx import store as store_module
from frametx.download import claim
from frametx.errors import DownloadError, QuotaExceeded, SnapshotMissing
from frametx.manifest import Snapshot
from frametx.store import Store
from tests.servers.mega import Reply, api


@pytest.fixture
def waits():
    """How long the store wanted to sleep, each time."""
    return []


@pytest.fixture
def store(tmp_path, waits):
    """A store that notes waits in place of sleeping."""
    return Store(tmp_path / "cache", wait=waits.append)


@pytest.fixture
def snapshot(mega, checkpoint):
    """A snapshot on MEGA of which nothing but the link is known."""
    return Snapshot(name="v10", sources=(mega.add(checkpoint),), origin="models.toml")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def names(store, snapshot):
    folder = store.folder(snapshot).path
    return {path.name for path in folder.iterdir() if path.name != "lock"} if folder.exists() else set()


def only_a_part(store, snapshot):
    """Tell whether nothing in the folder could be taken for a checkpoint."""
    return all(name.startswith("model.part") for name in names(store, snapshot))


def test_a_snapshot_is_fetched_once(store, snapshot, mega, checkpoint):
    """The first fetch puts the file and its record in place; the second asks nobody."""
    path = store.fetch(snapshot)
    assert path.read_bytes() == checkpoint
    assert names(store, snapshot) == {"model.pth", "model.pth.json"}
    record = json.loads(path.with_name("model.pth.json").read_text())
    assert record["sha256"] == sha256(checkpoint)
    assert record["source"] == snapshot.sources[0]
    asked = len(mega.commands)
    assert store.fetch(snapshot) == store.path_of(snapshot) == path
    assert len(mega.commands) == asked


def test_files_get_the_permissions_of_the_umask(store, snapshot):
    """A shared cache stays shared: no private temporary file's mode survives."""
    before = os.umask(0o027)
    try:
        path = store.fetch(snapshot)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_first_use_is_said_with_the_lines_to_pin(store, snapshot, checkpoint):
    """Where no digest is known, MEGA's code vouches, and the digest is shown as the manifest takes it."""
    notes = []
    store.fetch(snapshot, on_note=notes.append)
    assert store.status(snapshot).vouched == "first use"
    lines = next(note for note in notes if "To pin it" in note).partition("\n")[2]
    assert tomllib.loads(lines) == {"snapshots": {"v10": {"sha256": sha256(checkpoint)}}}
    pinned = replace(snapshot, sha256=sha256(checkpoint))
    assert store.status(pinned).vouched == "pinned"


def test_a_pinned_digest_is_enforced(store, snapshot, mega, checkpoint):
    """Another file than the pinned one is refused after a second try, and nothing of it stays."""
    pinned = replace(snapshot, sha256="0" * 64)
    with pytest.raises(DownloadError, match=f"has the digest {sha256(checkpoint)}; models.toml expects 0000") as caught:
        store.fetch(pinned)
    assert "check where it came from" in caught.value.hint
    assert len(mega.ranges) == 2
    assert names(store, pinned) == set()
    good = replace(snapshot, sha256=sha256(checkpoint))
    store.fetch(good)
    assert store.status(good).vouched == "pinned"


def test_a_pin_that_comes_later_is_held_against_the_cache(store, snapshot):
    """A cached file with another digest than the manifest's is not used any more."""
    store.fetch(snapshot)
    with pytest.raises(SnapshotMissing, match=r"cannot be used: .* expects 1111") as caught:
        store.path_of(replace(snapshot, sha256="1" * 64))
    assert "models remove v10" in caught.value.hint


def test_later_downloads_are_held_to_the_first(store, snapshot, mega, checkpoint):
    """The digest of the first download outlives the file; `forget` ends that."""
    store.fetch(snapshot)
    store.remove(snapshot)
    assert store.status(snapshot).state == "missing"
    handle = snapshot.sources[0].split("/")[-1].split("#")[0]
    mega.add(checkpoint[::-1], handle=handle)
    changed = replace(snapshot, sources=(f"https://mega.nz/file/{handle}#{mega.files[handle].link_key}",))
    with pytest.raises(DownloadError, match="the one that is or was here has") as caught:
        store.fetch(changed)
    assert "--forget" in caught.value.hint
    store.remove(changed, forget=True)
    mega.add(b"PK\x03\x04" + checkpoint, handle=handle)
    store.fetch(replace(snapshot, sources=(f"https://mega.nz/file/{handle}#{mega.files[handle].link_key}",)))


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({"size_bytes": 3_000_004}, "must have 3000004 bytes; this file has 3000003"),
        ({"size_bytes": 2_999_999}, "at most 2999999 are expected"),
        ({"tensor_bytes": 6_000_007}, "holds 6.00 MB of tensors; this file has 3.00 MB"),
    ],
)
def test_a_wrong_size_is_refused_before_a_byte_is_read(store, snapshot, mega, known, says):
    """What MEGA announces is held against what the manifest knows."""
    with pytest.raises(DownloadError, match=says):
        store.fetch(replace(snapshot, **known))
    assert mega.ranges == []


@pytest.mark.parametrize("known", [{"size_bytes": 3_000_003}, {"tensor_bytes": 2_900_000}])
def test_a_file_that_breaks_off_unnoticed_is_refused(store, files, checkpoint, known):
    """A server that names no length may close the connection early: the size that is known tells."""
    body = b"%x\r\n" % 50_000 + checkpoint[:50_000] + b"\r\n0\r\n\r\n"
    files.script = [Reply(headers={"Transfer-Encoding": "chunked", "Content-Length": ""}, body=body)]
    wanted = Snapshot(name="own", sources=(f"{files.url}/model.pth",), **known)
    with pytest.raises(DownloadError, match="this file has"):
        store.fetch(wanted)
    assert store.status(wanted).state == "missing"
    assert store.fetch(wanted).read_bytes() == checkpoint


def test_what_is_no_checkpoint_is_refused(store, files):
    """An error page served with status 200 never gets a final name."""
    files.body = b"<!DOCTYPE html><title>Sign in</title>"
    snapshot = Snapshot(name="own", sources=(files.url + "/own.pth",))
    with pytest.raises(DownloadError, match="is no checkpoint: it begins with b'<!DOCTYPE"):
        store.fetch(snapshot)
    assert only_a_part(store, snapshot)


def test_the_next_source_is_tried(store, mega, files, checkpoint):
    """A dead link is no end where there is a mirror, and it is said."""
    dead = mega.add(b"x")
    mega.files.clear()
    notes = []
    snapshot = Snapshot(name="v10", sources=(dead, files.url + "/v10.pth"), sha256=sha256(checkpoint))
    path = store.fetch(snapshot, on_note=notes.append)
    assert path.read_bytes() == checkpoint
    assert any("gone from MEGA; trying the next source" in note for note in notes)


def test_a_quota_is_what_is_said_when_no_source_works(store, snapshot, mega, files):
    """Among several failures the one that passes by itself is the one to know."""
    mega.api_script = [api([{"e": -17, "tl": 7200}])]
    files.script = [Reply(status=404)]
    both = replace(snapshot, sources=(files.url + "/gone", *snapshot.sources), sha256="0" * 64)
    with pytest.raises(QuotaExceeded):
        store.fetch(both)


def test_a_mirror_goes_on_where_mega_stopped(store, snapshot, mega, files, checkpoint):
    """With a known digest the part of one source is continued from another."""
    mega.data_script = [Reply(cut_after=2_500_000), Reply(status=509, headers={"X-MEGA-Time-Left": "9000"})]
    both = replace(snapshot, sources=(*snapshot.sources, files.url + "/v10.pth"), sha256=sha256(checkpoint))
    assert store.fetch(both).read_bytes() == checkpoint
    assert int(files.asked[0].headers["range"].removeprefix("bytes=").removesuffix("-")) > 1_000_000


@pytest.mark.parametrize("source", ["mega", "http"])
def test_a_later_run_goes_on_where_the_first_stopped(store, snapshot, mega, files, checkpoint, source):
    """What was fetched is found again, with what is known about it."""
    if source == "http":
        snapshot = Snapshot(name="v10", sources=(files.url + "/v10.pth",))
    files.script = [Reply(cut_after=2_500_000), *[Reply(drop=True)] * 6]
    mega.data_script = list(files.script)
    with pytest.raises(DownloadError):
        store.fetch(snapshot)
    assert only_a_part(store, snapshot)
    status = store.status(snapshot)
    assert status.state == "partial"
    assert 1_900_000 < status.size_bytes <= 2_500_000
    files.script, mega.data_script = [], []
    assert store.fetch(snapshot).read_bytes() == checkpoint
    if source == "mega":
        assert mega.ranges[-1][0] > 1_000_000
    else:
        assert files.asked[-1].headers["range"] == "bytes=2500000-"
        assert files.asked[-1].headers["if-range"] == '"one"'
    assert names(store, snapshot) == {"model.pth", "model.pth.json"}


@pytest.mark.parametrize("by", ["option", "environment"])
def test_offline_nothing_is_asked_and_the_way_out_is_said(store, snapshot, mega, monkeypatch, by):
    """The error names the folder, the link and both commands."""
    if by == "environment":
        monkeypatch.setenv("FRAMETX_OFFLINE", "1")
    with pytest.raises(SnapshotMissing) as caught:
        store.fetch(snapshot, offline=by == "option")
    said = caught.value.message + caught.value.hint
    for text in (
        str(store.folder(snapshot).path),
        snapshot.sources[0],
        "models fetch v10",
        "models import FILE --as v10",
    ):
        assert text in said
    assert mega.commands == []


def test_a_file_on_a_share_is_fetched_offline_too(store, tmp_path, checkpoint):
    """A file: source is no network."""
    (tmp_path / "a b.pth").write_bytes(checkpoint)
    snapshot = Snapshot(name="own", sources=((tmp_path / "a b.pth").as_uri(),))
    assert store.fetch(snapshot, offline=True).read_bytes() == checkpoint


def test_damage_is_noticed_and_named(store, snapshot):
    """A file cut short, or one without a record, is not used; the message says which and what to do."""
    path = store.fetch(snapshot)
    with path.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(SnapshotMissing, match="has 1000 bytes; it had 3000003") as caught:
        store.fetch(snapshot)
    assert "models remove v10" in caught.value.hint
    path.with_name("model.pth.json").unlink()
    with pytest.raises(SnapshotMissing, match="has no record of where it came from"):
        store.path_of(snapshot)


def test_verifying_finds_a_flipped_bit(store, snapshot):
    """The size is right, the digest is not."""
    path = store.fetch(snapshot)
    assert [verdict.problem for verdict in store.verify(snapshot)] == [""]
    with path.open("r+b") as file:
        file.seek(12_345)
        byte = file.read(1)[0]
        file.seek(12_345)
        file.write(bytes([byte ^ 1]))
    assert "when it was verified first" in store.verify(snapshot)[0].problem


def test_removing_leaves_nothing_but_the_digest(store, snapshot):
    """The freed bytes are counted; `forget` removes the folder."""
    store.fetch(snapshot)
    assert store.remove(snapshot) == 3_000_003
    assert names(store, snapshot) == {"model.pth.json"}
    store.remove(snapshot, forget=True)
    assert not store.folder(snapshot).path.exists()
    with pytest.raises(SnapshotMissing, match="nothing to remove"):
        store.remove(snapshot)


def test_removing_says_what_it_waits_for(store, snapshot, monkeypatch):
    """While another process holds the folder, the one that removes names it and the lock; then it goes on."""
    monkeypatch.setattr(claim, "SAY_AFTER_SECONDS", 0.01)
    store.fetch(snapshot)
    lock = claim.acquired(store.folder(snapshot).path / "lock")
    notes = []

    def note(text):
        notes.append(text)
        lock.release()

    assert store.remove(snapshot, on_note=note) == 3_000_003
    assert ["v10" in text and "lock" in text for text in notes] == [True]


def test_a_file_that_somebody_brings_takes_the_place(store, snapshot, tmp_path, checkpoint):
    """An import is kept as unverified unless its digest is known, and another file may not replace it unasked."""
    brought = tmp_path / "model.v10.pth"
    brought.write_bytes(checkpoint)
    assert store.adopt(snapshot, brought).read_bytes() == checkpoint
    assert store.status(snapshot).vouched == "imported"
    assert brought.exists()
    brought.write_bytes(checkpoint[::-1])
    with pytest.raises(DownloadError, match="the one that is or was here has"):
        store.adopt(snapshot, brought)
    with pytest.raises(DownloadError, match=r"models\.toml expects 0000"):
        store.adopt(replace(snapshot, sha256="0" * 64), brought)
    assert store.path_of(snapshot).read_bytes() == checkpoint
    store.remove(snapshot)
    pinned = replace(snapshot, sha256=sha256(checkpoint))
    brought.write_bytes(checkpoint)
    store.adopt(pinned, brought)
    assert store.status(pinned).vouched == "pinned"


def test_what_a_killed_import_left_goes_with_the_next_step(store, tmp_path, checkpoint):
    """Half a checkpoint under a name that nobody knows would fill the disk for good."""
    brought = tmp_path / "mine.pth"
    brought.write_bytes(checkpoint)
    own = Snapshot(name="mine")
    killed = (
        "import os; from pathlib import Path; from frametx.manifest import Snapshot; from frametx.store import Store;"
        f"Store(Path({str(store.root)!r})).adopt(Snapshot(name='mine'), Path({str(brought)!r}),"
        " on_bytes=lambda done, total: os._exit(9) if done > 2**20 else None)"
    )
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == 9
    assert names(store, own)
    assert store.remove(own) > 2**20
    assert not store.folder(own).path.exists()
    subprocess.run([sys.executable, "-c", killed], check=False)
    store.adopt(own, brought)
    assert names(store, own) == {"model.pth", "model.pth.json"}


def test_a_second_process_says_what_it_waits_for(store, snapshot, mega, monkeypatch):
    """After a while the waiting one names the snapshot and the lock; then it takes what the first has fetched."""
    monkeypatch.setattr(claim, "SAY_AFTER_SECONDS", 0.01)
    go_on, waiting, notes = threading.Event(), threading.Event(), []
    mega.data_script = [Reply(cut_after=1000, hold=go_on)]
    first = threading.Thread(target=store.fetch, args=(snapshot,))
    first.start()
    while not mega.ranges:
        first.join(0.005)

    def note(text):
        notes.append(text)
        waiting.set()

    second = threading.Thread(target=store.fetch, args=(snapshot,), kwargs={"on_note": note})
    second.start()
    assert waiting.wait(60)
    go_on.set()
    first.join(60)
    second.join(60)
    assert "waiting for another process that is fetching v10" in notes[0]
    assert "lock" in notes[0]
    assert len(mega.ranges) == 2  # the cut one and its continuation, both by the first


def test_where_locks_lie_the_file_is_still_right(store, snapshot, mega, checkpoint, monkeypatch):
    """On a file system that gives everybody the lock, two downloads at once never write into one file."""
    monkeypatch.setattr(store_module, "locked", lambda *_a, **_k: contextlib.nullcontext())
    folder = store.folder(snapshot).path
    folder.mkdir(parents=True)
    (folder / "model.part").write_bytes(checkpoint[:1_000_000])
    both_began = threading.Barrier(2, timeout=60)
    results = []

    def fetch():
        began = []
        note = lambda done, _total: began or (began.append(done), both_began.wait())  # noqa: E731
        results.append(store.fetch(snapshot, on_bytes=note).read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [result == checkpoint for result in results] == [True, True]
    assert names(store, snapshot) == {"model.pth", "model.pth.json"}


def test_too_little_space_is_said_before_anything_is_read(store, snapshot, mega, monkeypatch):
    """The file's size and a reserve must be free."""
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda _path: usage._replace(free=60_000_000))
    with pytest.raises(DownloadError, match=r"'v10' needs 70 MB more in .*; 60 MB are free") as caught:
        store.fetch(snapshot)
    assert "FRAMETX_CACHE" in caught.value.hint
    assert mega.ranges == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.getuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "frametx-test", str(folder)], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing(small_disk, snapshot, tmp_path, monkeypatch, mega, checkpoint):
    """A disk that fills up meanwhile ends the download with what to do; the part is whole and is continued elsewhere."""
    monkeypatch.setattr(sources, "SPARE_BYTES", -(10**9))  # as if another program took the space later
    store = Store(small_disk / "cache")
    with pytest.raises(
        DownloadError, match=r"the disk is full at .*; the 1\.97 MB that were fetched are kept"
    ) as caught:
        store.fetch(snapshot)
    assert "FRAMETX_CACHE" in caught.value.hint
    assert only_a_part(store, snapshot)
    elsewhere = Store(tmp_path / "larger")
    shutil.copytree(store.folder(snapshot).path, elsewhere.folder(snapshot).path)
    assert elsewhere.fetch(snapshot).read_bytes() == checkpoint
    assert mega.ranges[-1][0] > 1_000_000


@pytest.fixture
def read_only(small_disk):
    """Make the small disk read-only."""
    return lambda: subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)


def test_a_read_only_cache_serves_what_it_has(small_disk, read_only, mega):
    """Reading needs no lock; fetching says what cannot be written and names the way out."""
    store = Store(small_disk / "cache")
    here = Snapshot(name="here", sources=(mega.add(b"PK\x03\x04 small"),))
    path = store_module.Store(small_disk / "cache", wait=lambda _s: None).folder(here).path
    path.mkdir(parents=True)
    (path / "model.pth").write_bytes(b"PK\x03\x04 small")
    record = {"source": "x", "size_bytes": 10, "sha256": "0" * 64, "vouched": "imported", "when": "now"}
    (path / "model.pth.json").write_text(json.dumps(record))
    read_only()
    assert store.fetch(here) == path / "model.pth"
    assert store.verify(here)[0].path == path / "model.pth"
    with pytest.raises(DownloadError, match=r"cannot write .*Read-only") as caught:
        store.fetch(Snapshot(name="missing", sources=(mega.add(b"PK\x03\x04"),)))
    assert "FRAMETX_CACHE" in caught.value.hint
    with pytest.raises(DownloadError, match="cannot write"):
        store.remove(here)


def test_a_cache_that_cannot_be_a_folder_is_said(tmp_path, snapshot):
    """A file stands where the cache should be."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(DownloadError, match="cannot write") as caught:
        Store(tmp_path / "file" / "cache").fetch(snapshot)
    assert "FRAMETX_CACHE" in caught.value.hint


def test_a_bundled_snapshot_needs_no_cache(tmp_path):
    """What comes with frametx is there or says that the installation is not whole."""
    store = Store(tmp_path / "cache")
    with pytest.raises(
        SnapshotMissing, match=r"should come with frametx, but .*absent\.safetensors is not there"
    ) as caught:
        store.path_of(Snapshot(name="mini", bundled="absent.safetensors"))
    assert "install frametx again" in caught.value.hint
    there = Snapshot(name="there", bundled="__init__.py")
    assert store.fetch(there).is_file()
    assert store.status(there).state == "bundled"
