"""Checkpoints that somebody brings."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from dataclasses import replace

import pytest
import torch

from frametx.errors import CheckpointError, DownloadError, UsageError
from frametx.manifest import Manifest, Snapshot, load_manifest
from frametx.models.checkpoint import load_network
from frametx.own_checkpoints import add_snapshot, convert, identify, import_checkpoint
from frametx.store import Store

SIZES = {
    "in_channels": 2,
    "out_channels": 2,
    "embedding": 1,
    "n_fft": 256,
    "num_heads": 4,
    "num_attention_maps": 1,
    "expansion": 1,
}


@pytest.fixture
def store(tmp_path):
    """A store of its own."""
    return Store(tmp_path / "cache")


@pytest.fixture
def notes():
    """What there was to say."""
    return []


@pytest.fixture
def bring(store, notes):
    """Import a file and return the snapshot and its path in the store."""

    def bring(path, name=None, manifest=None):
        return import_checkpoint(
            path, name, manifest or load_manifest(), store, on_bytes=lambda _d, _t: None, on_note=notes.append
        )

    return bring


def known(*snapshots):
    """A manifest of these snapshots alone."""
    return Manifest(
        snapshots={snapshot.name: snapshot for snapshot in snapshots},
        presets={},
        default=snapshots[0].name,
        files=(),
    )


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def hostile_files(folder, witness):
    """The same code in each form that a checkpoint may have."""
    code = Hostile(f"touch {witness}")
    torch.save({"weight": torch.zeros(2), "extra": code}, folder / "zip.pth")
    torch.save({"weight": torch.zeros(2), "extra": code}, folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "bare.pth").write_bytes(pickle.dumps(code, protocol=2))
    with zipfile.ZipFile(folder / "names.pth", "w") as archive:
        archive.writestr("../../evil.txt", "x")
        archive.writestr("archive/data.pkl", pickle.dumps(code, protocol=2))
        archive.writestr("archive/version", "3")
    return ["zip.pth", "old.pth", "bare.pth", "names.pth"]


def test_a_checkpoint_with_code_is_refused_and_the_code_never_runs(bring, store, tmp_path):
    """Whatever the pickle's form, nothing is executed, nothing cached, and no way around is offered."""
    witness = tmp_path / "witness"
    for name in hostile_files(tmp_path, witness):
        with pytest.raises(CheckpointError) as caught:
            bring(tmp_path / name, "mine")
        assert "weights_only" not in f"{caught.value.message} {caught.value.hint}"
        assert not witness.exists()
    assert not (tmp_path / "evil.txt").exists()
    assert not (store.root / "snapshots").exists()


def test_an_own_training_gets_a_name_and_stays_known(bring, store, tiny_checkpoint):
    """The file is copied, its facts and digest go into the user's manifest, and it loads under its name."""
    snapshot, path = bring(tiny_checkpoint, "mine")
    assert path.read_bytes() == tiny_checkpoint.read_bytes()
    entry = load_manifest().snapshot("mine")
    assert (entry.architecture, entry.sizes, entry.sha256) == ("v10", SIZES, snapshot.sha256)
    assert store.path_of(entry) == path
    assert store.status(entry).vouched == "pinned"
    assert load_network(store.path_of(entry), entry.architecture).framing.n_fft == 256


def test_a_browser_download_is_recognised_by_its_tensors(bring, store, tiny_checkpoint):
    """Without a name the one snapshot that has these sizes is found, whatever the file is called."""
    published = Snapshot(name="small", architecture="v10", sizes=SIZES, sources=("https://host/x",))
    other = Snapshot(name="large", architecture="v10", sizes={**SIZES, "n_fft": 2048}, sources=("https://host/y",))
    snapshot, path = bring(tiny_checkpoint, None, known(published, other))
    assert snapshot.name == "small"
    assert store.path_of(published) == path
    assert store.status(published).vouched == "imported"


def test_among_equal_snapshots_the_digest_or_the_person_decides(bring, tiny_checkpoint):
    """Two published files of one size can't be told apart, unless one of them is pinned."""
    from frametx.cache_folder import digest_of

    one = Snapshot(name="one", architecture="v10", sizes=SIZES, sources=("https://host/x",))
    two = replace(one, name="two")
    with pytest.raises(UsageError, match="could be one, two") as caught:
        bring(tiny_checkpoint, None, known(one, two))
    assert "--as" in caught.value.hint
    two = replace(two, sha256=digest_of(tiny_checkpoint))
    assert bring(tiny_checkpoint, None, known(one, two))[0].name == "two"


def test_what_fits_no_snapshot_needs_a_name(bring, tiny_checkpoint):
    """An own training without a name is not guessed to be a published one."""
    with pytest.raises(UsageError, match="is a v10 checkpoint and is none of the known snapshots") as caught:
        bring(tiny_checkpoint)
    assert "--as NAME" in caught.value.hint


def test_the_wrong_name_is_refused(bring, tiny_checkpoint):
    """A v10 file is never kept as v8, nor as the bundled model, nor under a name that is a path or an ensemble."""
    with pytest.raises(CheckpointError, match="is a v10 checkpoint; snapshot 'v8' is v8"):
        bring(tiny_checkpoint, "v8.1")
    with pytest.raises(UsageError, match="comes with frametx"):
        bring(tiny_checkpoint, "mini")
    with pytest.raises(UsageError, match="cannot be the name"):
        bring(tiny_checkpoint, "../evil")
    with pytest.raises(UsageError, match="'original' is taken: it is an ensemble"):
        bring(tiny_checkpoint, "original")
    with pytest.raises(UsageError, match="cannot be the name") as caught:
        bring(tiny_checkpoint, "mine.pth")  # -m mine.pth means a file
    assert "no ending of checkpoint files" in caught.value.hint


def test_other_sizes_than_published_are_said(bring, notes, tiny_checkpoint):
    """The sizes in the manifest are partly inferred: a file of the right network is taken, with a note."""
    published = Snapshot(name="v", architecture="v10", sizes={**SIZES, "expansion": 4}, sources=("https://host/x",))
    bring(tiny_checkpoint, "v", known(published))
    assert any("expansion 1 instead of 4" in note for note in notes)


def test_a_damaged_file_is_refused(bring, tiny_checkpoint, tmp_path):
    """Cut short, empty or something else altogether: said, not kept."""
    for content in (tiny_checkpoint.read_bytes()[:-5000], b"", b"<!DOCTYPE html>", b"PK\x03\x04 and no more"):
        (tmp_path / "bad.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"bad\.pth"):
            bring(tmp_path / "bad.pth", "mine")
    with pytest.raises(CheckpointError, match="does not exist"):
        bring(tmp_path / "absent.pth", "mine")


def test_converting_gives_the_same_tensors_without_pickle(bring, store, tiny_checkpoint, tmp_path):
    """The safetensors file is used from then on, verified, and can be written elsewhere as well."""
    snapshot, original = bring(tiny_checkpoint, "mine")
    converted = convert(snapshot, store)
    assert converted == store.path_of(snapshot) == original.with_suffix(".safetensors")
    before, after = load_network(original).state_dict(), load_network(converted).state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert store.status(snapshot).vouched == "converted"
    assert [verdict.problem for verdict in store.verify(snapshot)] == ["", ""]
    assert convert(snapshot, store, tmp_path / "out.safetensors").stat().st_size == converted.stat().st_size
    with pytest.raises(UsageError, match=r"does not end in \.safetensors"):
        convert(snapshot, store, tmp_path / "out.pth")


def add(name, source, store, **changes):
    return add_snapshot(
        name, source, load_manifest(), store, on_bytes=lambda _d, _t: None, on_note=lambda _n: None, **changes
    )


def test_a_checkpoint_from_anywhere_gets_a_name(store, mega, tiny_checkpoint):
    """It is fetched, recognised, and written into the user's manifest with its link and digest."""
    link = mega.add(tiny_checkpoint.read_bytes())
    _, path = add("theirs", link, store)
    entry = load_manifest().snapshot("theirs")
    assert (entry.architecture, entry.sources, entry.sizes) == ("v10", (link,), SIZES)
    assert store.path_of(entry) == path
    assert store.status(entry).vouched == "pinned"


def test_a_digest_may_be_written_in_capitals(store, tiny_checkpoint):
    """As PowerShell's Get-FileHash writes it."""
    digest = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()
    add("theirs", tiny_checkpoint.as_uri(), store, sha256=digest.upper())
    assert load_manifest().snapshot("theirs").sha256 == digest


def test_what_cannot_be_a_digest_is_said_before_anything_is_fetched(store, files):
    """A digit too few is found at once, not behind two downloads."""
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        add("theirs", files.url + "/x.pth", store, sha256="0" * 63)
    assert not files.asked


def test_what_is_not_usable_is_not_added(store, files, mega, tmp_path):
    """Taken names, unvouched sources and files that are no networks leave neither an entry nor a file."""
    with pytest.raises(UsageError, match="'v9a' is taken"):
        add("v9a", "https://host/x", store)
    with pytest.raises(UsageError, match="nothing vouches"):
        add("theirs", files.url + "/x.pth", store)
    with pytest.raises(CheckpointError):
        add("theirs", mega.add(b"PK\x03\x04 and no more"), store)
    hostile_files(tmp_path, tmp_path / "witness")
    with pytest.raises(CheckpointError, match="more than tensors"):
        add("theirs", (tmp_path / "zip.pth").as_uri(), store)
    with pytest.raises(DownloadError, match="expects 0000"):
        add("theirs", (tmp_path / "zip.pth").as_uri(), store, sha256="0" * 64)
    assert not (tmp_path / "witness").exists()
    assert "theirs" not in load_manifest().snapshots
    assert not any((store.root / "snapshots").rglob("model.*"))


def test_facts_are_read_from_the_tensors(tiny_checkpoint):
    """Network, sizes and counts need no manifest."""
    identity = identify(tiny_checkpoint)
    assert (identity.architecture, identity.sizes) == ("v10", SIZES)
    assert identity.parameters == sum(p.numel() for p in load_network(tiny_checkpoint).parameters())
