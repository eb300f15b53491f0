"""The manifest: what comes with frametx is right, what users write is checked."""

from __future__ import annotations

import subprocess
import sys

import pytest

from frametx.download.links import parse_mega_link
from frametx.errors import ManifestError, UsageError
from frametx.manifest import load_manifest
from frametx.manifest_fields import ARCHITECTURES
from frametx.user_manifest import remove_snapshot, write_snapshot

PUBLISHED = {
    "v10": "GwpXBBgb",
    "v9": "q4YhCAqZ",
    "v8": "n8IUwJZK",
    "v7": "L55UwZAC",
    "v7.0": "P0xmGIKa",
    "v6": "ulRhwYBY",
    "v4": "61hCRSYD",
    "gan-v1": "2pRHBL7J",
    "v2b": "a843wbTQ",
    "v1": "C5pGXYYR",
    "v1-2022-12-03": "rw4RkBrD",
    "v1-1m": "3ggnHC6Y",
    "v1-2022-12-26": "nk5h2aAC",
}


@pytest.fixture
def write(tmp_path):
    """Write a manifest of one's own and return its path."""

    def write(text):
        path = tmp_path / "own.toml"
        path.write_text(text)
        return path

    return write


def test_every_published_snapshot_has_its_link():
    """Names and MEGA handles are those of the project, and every link can be read."""
    snapshots = load_manifest().snapshots
    found = {
        name: parse_mega_link(snapshot.sources[0]).handle
        for name, snapshot in snapshots.items()
        if not snapshot.bundled
    }
    assert found == PUBLISHED


def test_the_numbers_in_the_manifest_are_those_of_the_networks():
    """A network built from an entry's sizes has exactly the tensors, parameters and bytes that the entry says."""
    import torch

    from frametx.models.detect import network_class

    seen = set()
    for snapshot in load_manifest().snapshots.values():
        facts = (
            snapshot.architecture,
            str(snapshot.sizes),
            snapshot.tensors,
            snapshot.parameters,
            snapshot.tensor_bytes,
        )
        if snapshot.bundled or facts in seen:
            continue
        seen.add(facts)
        with torch.device("meta"):
            network = network_class(snapshot.architecture)(**snapshot.sizes)
        state = network.state_dict()
        assert (snapshot.name, snapshot.tensors) == (snapshot.name, len(state))
        assert snapshot.parameters == sum(parameter.numel() for parameter in network.parameters())
        assert snapshot.tensor_bytes == sum(tensor.numel() * tensor.element_size() for tensor in state.values())
        shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
        read = {
            name: list(size) if isinstance(size, tuple) else size for name, size in network.sizes_from(shapes).items()
        }
        assert read == snapshot.sizes


def test_the_manifest_knows_every_network():
    """An own snapshot of any architecture can be named."""
    from frametx.models.detect import NETWORKS

    assert set(ARCHITECTURES) == set(NETWORKS)


def test_the_default_works_without_a_download():
    """What is used when nothing is asked for comes with frametx."""
    manifest = load_manifest()
    assert manifest.resolve()[0].bundled == "mini.safetensors"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("original", ["v7", "v8", "v10"]),
        ("v7.2+v8.1", ["v7", "v8"]),
        ("v10", ["v10"]),
        ("v8.1, v9a", ["v8", "v9"]),
    ],
)
def test_names_presets_and_lists_are_resolved(text, names):
    """A preset, an alias and a list each mean their snapshots."""
    assert [snapshot.name for snapshot in load_manifest().resolve(text)] == names


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        ("orignal", "model 'orignal' is not in models.toml; it has: mini, v10", "did you mean original"),
        ("V10", "is not in", "did you mean v10"),
        ("gan1", "is not in", "gan-v1"),
        ("zebra", "is not in", "models list"),
        ("v7,v71", "model 'v71' is not in", "v7"),
        ("v7,orignal", "model 'orignal' is not in", "original"),
        ("v9,original", "'original' is an ensemble", "its models are v7, v8, v10"),
        ("v7,", "empty name", "comma"),
        ("v7,v7.2", "twice", "once"),
    ],
)
def test_near_misses_are_suggested(text, says, hint):
    """A wrong name says what there is and what may have been meant."""
    with pytest.raises(UsageError, match=says) as caught:
        load_manifest().resolve(text)
    assert hint in caught.value.hint


def test_two_lines_pin_a_published_snapshot(write):
    """An own file changes single keys of an entry and leaves the others."""
    own = write(f'[snapshots.v10]\nsha256 = "{"AB" * 32}"\n')
    snapshot = load_manifest(own).snapshot("v10")
    assert snapshot.sha256 == "ab" * 32
    assert snapshot.sources == load_manifest().snapshot("v10").sources
    assert snapshot.origin == str(own)


def test_an_own_file_adds_snapshots_and_presets(write):
    """New names stand beside the published ones."""
    own = write(
        'default = "mix"\n[snapshots.mine]\narchitecture = "v10"\nsources = ["https://host/m.pth"]\n'
        '[presets.mix]\nmodels = ["mine", "v8.1"]\nrule = "mean"\nweights = [2, 1]\n'
    )
    manifest = load_manifest(own)
    assert [snapshot.name for snapshot in manifest.resolve()] == ["mine", "v8"]
    assert (manifest.presets["mix"].rule, manifest.presets["mix"].weights) == ("mean", (2.0, 1.0))


def test_a_bundled_snapshot_can_be_given_a_source(write):
    """The last word on where a file comes from is the user's."""
    own = write('[snapshots.mini]\nsources = ["https://host/mini.safetensors"]\n')
    snapshot = load_manifest(own).snapshot("mini")
    assert (snapshot.bundled, snapshot.sources) == (None, ("https://host/mini.safetensors",))


def test_the_users_file_is_found(monkeypatch, tmp_path, write):
    """FRAMETX_MODELS is read, and else models.toml in the configuration folder."""
    folder = tmp_path / "config" / "frametx"
    folder.mkdir(parents=True)
    (folder / "models.toml").write_text('default = "v9"\n')
    assert load_manifest().default == "v9"
    monkeypatch.setenv("FRAMETX_MODELS", str(write('default = "v8"\n')))
    assert load_manifest().default == "v8"


WRONG = {
    "unknown key": (
        "[snapshots.v10]\nsha265 = 1",
        "snapshot 'v10' has an unknown key 'sha265'",
        "did you mean `sha256`",
    ),
    "unknown section": ("[snapshot.v10]", "the top level has an unknown key 'snapshot'", "did you mean `snapshots`"),
    "no TOML": ("[snapshots", "is not TOML", None),
    "short digest": ('[snapshots.v10]\nsha256 = "abc"', "`sha256` must be 64 hexadecimal digits; it is 'abc'", None),
    "wrong type": ("[snapshots.v10]\nsources = 5", "`sources` must be a list of links", None),
    "no link": ('[snapshots.v10]\nsources = ["v10.pth"]', "`sources` must be a list of links", None),
    "other scheme": ('[snapshots.v10]\nsources = ["ftp://host/x"]', "`sources` must be a list of links", None),
    "a folder of MEGA": (
        '[snapshots.a]\nsources = ["https://mega.nz/folder/AAAAAAAA#KEY", "https://host/x"]',
        "`sources` must be a list of links",
        None,
    ),
    "a MEGA link without its key": (
        '[snapshots.v10]\nsources = ["https://mega.nz/file/GwpXBBgb"]',
        "`sources` must be a list of links",
        None,
    ),
    "plain http": ('[snapshots.a]\nsources = ["http://host/x"]', "which nothing vouches for", "sha256"),
    "architecture": ('[snapshots.a]\narchitecture = "v11"', "`architecture` must be one of v1, v2b", None),
    "a path as a name": ('[snapshots."../x"]', "has a name that cannot be used", "letters"),
    "a comma in a name": ('[snapshots."a,b"]', "has a name that cannot be used", "letters"),
    "a path as a bundled file": ('[snapshots.a]\nbundled = "../x"', "`bundled` must be the name of a file", None),
    "both": ('[snapshots.a]\nbundled = "x"\nsources = ["https://h/x"]', "both `sources` and `bundled`", "leave one"),
    "taken alias": ('[snapshots.a]\naliases = ["v9a"]', "names snapshot 'a' and also 'v9'", "rename"),
    "preset of nothing": ('[presets.p]\nrule = "max"', "names no models", "models = "),
    "preset of unknown": ('[presets.p]\nmodels = ["v11"]', "uses 'v11', which is no snapshot", "v10"),
    "preset's name": ('[presets.v9]\nmodels = ["v10"]', "has the name of a preset of", "rename"),
    "snapshot named as a preset": ("[snapshots.original]", "has the name of a preset of", "rename"),
    "a file as a name": ('[snapshots."a.pth"]', "has a name that cannot be used", "no ending of checkpoint files"),
    "rule": ('[presets.p]\nmodels = ["v10"]\nrule = "sum"', "`rule` must be one of min, max, mean, median", None),
    "weights without mean": (
        '[presets.p]\nmodels = ["v10"]\nweights = [1]',
        "weights, which only the rule `mean`",
        None,
    ),
    "too few weights": (
        '[presets.p]\nmodels = ["v10", "v9"]\nrule = "mean"\nweights = [1]',
        "1 weights for 2 models",
        None,
    ),
    "newer format": ("format = 2", "format 2; this frametx reads format 1", "update"),
    "unknown default": ('default = "v11"', "default 'v11' is neither", "choose"),
    "no table": ("snapshots = 5", "snapshots must be a table", None),
    "crop of nothing": ("[snapshots.v10]\ncrop = 0", "`crop` must be a whole number of frames", None),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_manifests_say_what_is_wrong_and_where(write, case):
    """The message names the file, the entry and what was expected; the hint is the way out."""
    text, says, hint = WRONG[case]
    own = write(text)
    with pytest.raises(ManifestError) as caught:
        load_manifest(own)
    assert str(own) in caught.value.message
    assert says in caught.value.message
    if hint is not None:
        assert hint in caught.value.hint


def test_a_file_that_is_not_there_is_said(tmp_path):
    """`--models` with a wrong path is an error, not an empty manifest."""
    with pytest.raises(ManifestError, match="cannot read the manifest") as caught:
        load_manifest(tmp_path / "absent.toml")
    assert "Errno" not in caught.value.message


def test_writing_an_entry_leaves_the_rest_of_the_file_as_it_is(write):
    """Comments and other entries stay, an entry can be changed and taken out again."""
    own = write('# mine\ndefault = "v8"  # for now\n\n[snapshots.v10]\nnotes = "x"  # keep\n')
    before = own.read_text()
    write_snapshot("new.1", {"architecture": "v10", "sizes": {"n_fft": 256}, "size_bytes": 5}, own)
    snapshot = load_manifest(own).snapshot("new.1")
    assert (snapshot.architecture, snapshot.sizes, snapshot.size_bytes) == ("v10", {"n_fft": 256}, 5)
    assert own.read_text().startswith(before.rstrip())
    write_snapshot("new.1", {"notes": "later"}, own)
    assert load_manifest(own).snapshot("new.1").notes == "later"
    assert remove_snapshot("new.1", own)
    assert not remove_snapshot("new.1", own)
    assert own.read_text().strip() == before.strip()


def test_a_manifest_saved_with_a_byte_order_mark_is_read_and_added_to(write):
    """Some editors on Windows put one before the text."""
    own = write("\ufeff[snapshots.mine]\nnotes = 'x'\n")
    write_snapshot("new", {"notes": "y"}, own)
    assert [load_manifest(own).snapshot(name).notes for name in ("mine", "new")] == ["x", "y"]


def test_a_manifest_behind_a_link_stays_there(write, tmp_path):
    """Who keeps the file elsewhere and links to it finds the new entry there."""
    own = write("")
    link = tmp_path / "link.toml"
    link.symlink_to(own)
    write_snapshot("new", {"notes": "x"}, link)
    assert link.is_symlink()
    assert load_manifest(own).snapshot("new").notes == "x"


def test_entries_written_at_once_all_stay(tmp_path):
    """Processes that write at the same time wait for one another."""
    own = tmp_path / "models.toml"
    program = (
        "import sys; from pathlib import Path; from frametx.user_manifest import write_snapshot\n"
        "for i in range(10): write_snapshot(f'{sys.argv[1]}{i}', {'notes': 'x'}, Path(sys.argv[2]))"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, name, str(own)]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(load_manifest(own).snapshots) == len(load_manifest().snapshots) + 30


def test_what_cannot_be_added_to_is_said(write):
    """An inline table holds no tables."""
    with pytest.raises(ManifestError, match="nothing can be added to `snapshots`"):
        write_snapshot("new", {"notes": "x"}, write("snapshots = { a = { notes = 'y' } }"))


def test_a_wrong_entry_is_never_written(write):
    """The file stays readable whatever is asked to be added."""
    own = write("")
    with pytest.raises(ManifestError, match="64 hexadecimal digits"):
        write_snapshot("a", {"sha256": "short"}, own)
    with pytest.raises(ManifestError, match="name that cannot be used"):
        write_snapshot("../a", {}, own)
    assert own.read_text() == ""
