"""`frametx models`, as typed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from frametx.cli.app import app
from frametx.cli.transfer import transfer
from frametx.errors import FrametxError, SnapshotMissing, UsageError
from frametx.manifest import load_manifest
from frametx.store import Store
from tests.servers.mega import Reply, api


@pytest.fixture
def run():
    """Run a command in this process and return its result; unexpected errors are raised."""

    def run(*arguments):
        result = CliRunner().invoke(app, ["models", *map(str, arguments)])
        if result.exception is not None and not isinstance(result.exception, SystemExit | FrametxError):
            raise result.exception
        return result

    return run


@pytest.fixture
def own(monkeypatch, tmp_path, mega, checkpoint):
    """A manifest of one's own with two snapshots on MEGA."""
    path = tmp_path / "own.toml"
    path.write_text(
        f'[snapshots.one]\narchitecture = "v10"\nsources = ["{mega.add(checkpoint)}"]\naliases = ["uno"]\n'
        f'[snapshots.two]\narchitecture = "v9"\nsources = ["{mega.add(checkpoint[::-1])}"]\nnotes = "backwards"\n'
        '[presets.both]\nmodels = ["one", "two"]\n'
    )
    # reversed bytes don't begin like a checkpoint: the second one is there to fail
    monkeypatch.setenv("FRAMETX_MODELS", str(path))
    return path


@pytest.fixture
def start(own):
    """Start the real program."""
    started = []

    def start(*arguments):
        command = [sys.executable, "-m", "frametx", "models", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, **pipes))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_list_shows_everything_with_its_size_and_state(run, own):
    """Published and own snapshots, presets, the cache and the files they come from."""
    run("fetch", "one")
    facts = json.loads(run("list", "--json").stdout)
    rows = {row["name"]: row for row in facts["snapshots"]}
    assert rows["v10"]["size_bytes"] == 1_623_530_768
    assert (rows["one"]["state"], rows["one"]["vouched"], rows["one"]["size_bytes"]) == (
        "cached",
        "first use",
        3_000_003,
    )
    assert rows["two"]["state"] == "missing"
    assert facts["cached_bytes"] == 3_000_003
    assert facts["default"] == "mini"
    assert str(own) in facts["manifests"]
    assert {"original", "both"} <= {row["name"] for row in facts["presets"]}
    text = run("list").stdout
    for word in ("one (uno)", "1.62 GB", "3.00 MB", "first use", "mini *", facts["cache"], str(own)):
        assert word in text


def test_the_list_can_be_filtered(run, own):
    """A word of the name, network, state or notes is enough."""
    assert [row["name"] for row in json.loads(run("list", "--json", "--filter", "BACKWARDS").stdout)["snapshots"]] == [
        "two"
    ]
    names = [row["name"] for row in json.loads(run("list", "--json", "--filter", "gan").stdout)["snapshots"]]
    assert names == ["gan-v1"]


def test_info_says_all_there_is(run, own):
    """Sizes, sources, licence, manifest, and what lies here; presets too."""
    facts = json.loads(run("info", "v8.1", "--json").stdout)
    assert (facts["name"], facts["architecture"], facts["crop"], facts["state"]) == ("v8", "v8", 4096, "missing")
    assert facts["sources"][0].startswith("https://mega.nz/file/n8IUwJZK#")
    assert json.loads(run("info", "original", "--json").stdout)["models"] == ["v7", "v8", "v10"]
    assert "227,730,588" in run("info", "v8").stdout


def test_fetching_puts_the_file_where_path_says(run, own, checkpoint):
    """The alias is enough; the second fetch says that it was there."""
    assert run("fetch", "uno").exit_code == 0
    path = run("path", "one").stdout.strip()
    assert Path(path).read_bytes() == checkpoint
    again = json.loads(run("fetch", "one", "--json").stdout)
    assert [(row["name"], row["path"], row["fetched"]) for row in again] == [("one", path, False)]
    assert again[0]["sha256"] == hashlib.sha256(checkpoint).hexdigest()


def test_without_a_terminal_there_is_one_line_at_every_tenth(run, own):
    """Logs stay readable: ten lines with speed, the last at 100 %."""
    lines = [line for line in run("fetch", "one").stderr.splitlines() if " % of " in line]
    assert [line.split()[1] for line in lines] == [str(tenth * 10) for tenth in range(1, 11)]
    assert lines[0].startswith("one: 10 % of 3.00 MB, ")
    assert "/s" in lines[0]
    assert "left" in lines[0]
    assert run("remove", "one").exit_code == 0
    assert " % of " not in run("fetch", "one", "--quiet").stderr


def test_one_failure_does_not_stop_the_others(run, own):
    """A preset is fetched snapshot by snapshot; what failed is said and the exit code is 1."""
    result = run("fetch", "two", "both", "--json")
    assert result.exit_code == 1
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert "is no checkpoint" in rows["two"]["error"]
    assert rows["one"]["fetched"]
    assert "error: " in result.stderr


def test_fetch_wants_to_know_what(run, own):
    """Neither nothing nor everything and something."""
    for arguments in ((), ("one", "--all")):
        assert isinstance(run("fetch", *arguments).exception, UsageError)


def test_offline_fails_with_the_way_out(run, own, mega, monkeypatch):
    """By option and by environment, and nothing is asked."""
    assert run("fetch", "one", "--offline").exit_code == 1
    monkeypatch.setenv("FRAMETX_OFFLINE", "1")
    result = run("fetch", "one")
    assert result.exit_code == 1
    assert "models import FILE --as one" in result.stderr.replace("\n", " ")
    assert mega.commands == []


def test_a_quota_says_how_long_and_what_else(run, own, mega):
    """The message has the time, the hint the link and the import."""
    mega.api_script = [api([{"e": -17, "tl": 11_100}])]
    said = run("fetch", "one").stderr.replace("\n", " ")
    assert "it can go on in 3 h 05 min" in said
    assert "frametx models import FILE" in said
    assert "https://mega.nz/file/" in said


def test_verify_tells_good_from_bad(run, own):
    """Exit code 0 and the digest, or 1 and what is wrong."""
    run("fetch", "one")
    good = run("verify")
    assert good.exit_code == 0
    assert "one: good (first use), sha256 " in good.stdout
    path = run("path", "one").stdout.strip()
    with Path(path).open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\0\0\0\0\0\0\0")
    bad = run("verify", "one", "--json")
    assert bad.exit_code == 1
    assert "when it was verified first" in json.loads(bad.stdout)[0]["problem"]
    assert isinstance(run("verify", "two").exception, SnapshotMissing)


def test_remove_says_what_became_free(run, own):
    """The file goes; the path is an error afterwards."""
    run("fetch", "one")
    assert json.loads(run("remove", "one", "--json").stdout)[0]["freed_bytes"] == 3_000_003
    assert isinstance(run("path", "one").exception, SnapshotMissing)


def test_what_comes_with_the_package_cannot_be_removed(run):
    """It is said to be no file of the cache, not to be missing."""
    outcome = run("remove", "mini")
    assert "comes with frametx" in str(outcome.exception)
    assert run("path", "mini").exit_code == 0


def test_an_own_training_comes_and_goes(run, tiny_checkpoint, tmp_path):
    """Imported under a new name it can be listed, converted and removed, and then nothing of it is left."""
    facts = json.loads(run("import", tiny_checkpoint, "--as", "mine", "--json").stdout)
    assert (facts["name"], facts["vouched"]) == ("mine", "pinned")
    assert run("path", "mine").stdout.strip() == facts["path"]
    assert run("convert", "mine", "--output", tmp_path / "m.safetensors").exit_code == 0
    assert run("convert", "mine").exit_code == 0
    assert run("path", "mine").stdout.strip().endswith(".safetensors")
    run("remove", "mine")
    assert "mine" not in load_manifest().snapshots
    assert not any((Store().root / "snapshots").iterdir())


def test_an_own_training_whose_file_is_gone_can_be_removed(run, tiny_checkpoint):
    """The name becomes free although the cache was cleared by hand."""
    run("import", tiny_checkpoint, "--as", "mine")
    shutil.rmtree(Store().root)
    assert run("remove", "mine").exit_code == 0
    assert "mine" not in load_manifest().snapshots


def test_adding_takes_a_plain_path(run, tiny_checkpoint):
    """A file, a relative one included, is as good as a link."""
    facts = json.loads(run("add", "theirs", os.path.relpath(tiny_checkpoint), "--json").stdout)
    assert facts["name"] == "theirs"
    assert load_manifest().snapshot("theirs").sources == (tiny_checkpoint.as_uri(),)


def test_options_name_another_manifest_and_cache(run, own, tmp_path, monkeypatch):
    """`--models` and `--cache` go before the environment."""
    monkeypatch.delenv("FRAMETX_MODELS")
    assert isinstance(run("fetch", "one").exception, UsageError)
    assert run("fetch", "one", "--models", own, "--cache", tmp_path / "other").exit_code == 0
    assert any((tmp_path / "other").rglob("model.pth"))


def test_an_unknown_name_is_a_usage_error_with_a_suggestion(start):
    """The program exits with 2 and two lines, without a traceback."""
    process = start("fetch", "v1O")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.startswith("error: ")
    assert "did you mean" in said
    assert len(said.splitlines()) == 2


def test_two_processes_at_once_fetch_once(start, mega, checkpoint):
    """Whoever comes second waits or finds the file; both succeed and MEGA is asked for the bytes once."""
    processes = [start("fetch", "one", "--json") for _ in range(2)]
    results = [json.loads(process.communicate(timeout=60)[0])[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert {row["sha256"] for row in results} == {hashlib.sha256(checkpoint).hexdigest()}
    assert mega.ranges == [(0, len(checkpoint) - 1)]


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_process_loses_nothing(start, mega, checkpoint, stop):
    """Killed or interrupted in mid-download it leaves no final file, and the next run fetches only the rest."""
    go_on = threading.Event()
    mega.data_script = [Reply(cut_after=2_500_000, hold=go_on)]
    process = start("fetch", "one")
    folder = Store().folder(load_manifest().snapshot("one")).path
    for _ in range(6000):
        if any(path.stat().st_size > 1_900_000 for path in folder.glob("model.part*")):
            break
        assert process.poll() is None
        threading.Event().wait(0.01)
    process.send_signal(stop)
    process.communicate(timeout=60)
    go_on.set()
    assert process.returncode == (-signal.SIGKILL if stop == signal.SIGKILL else 130)
    assert {
        path.name for path in folder.iterdir() if path.name.startswith("model.") and "part" not in path.name
    } == set()
    assert Store().status(load_manifest().snapshot("one")).state == "partial"
    assert Store().fetch(load_manifest().snapshot("one")).read_bytes() == checkpoint
    assert mega.ranges[-1][0] > 1_900_000 - 1024 * 1024
    assert {path.name for path in folder.iterdir()} <= {"model.pth", "model.pth.json", "lock"}


def test_neither_listing_nor_fetching_imports_torch(own):
    """What needs no network of the other kind starts fast."""
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom frametx.cli.app import app\n"
        "for words in (['list'], ['info', 'v10'], ['fetch', 'one'], ['verify'], ['path', 'one'], ['remove', 'one']):\n"
        "    result = CliRunner().invoke(app, ['models', *words])\n"
        "    assert result.exit_code == 0, (words, result.output)\n"
        "heavy = {'torch', 'numpy', 'torchaudio'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_errors_of_the_library_reach_the_command_line(run, own, mega):
    """A damaged file at the source is a DownloadError with a message, never a traceback."""
    mega.data_script = [Reply(flip=5), Reply(flip=5)]
    result = run("fetch", "one")
    assert result.exit_code == 1
    assert "does not match the code in its link" in result.stderr.replace("\n", " ")


def test_a_second_file_is_counted_anew(capfd):
    """Several files one after the other each have their ten lines, also where nobody says that another begins."""
    with transfer() as shown:
        for _ in range(2):
            for done in range(0, 101, 5):
                shown.on_bytes(done * 1000, 100_000)
    lines = [line for line in capfd.readouterr().err.splitlines() if " % of " in line]
    assert [line.split()[0] for line in lines] == [str(tenth * 10) for tenth in range(1, 11)] * 2


def test_names_that_are_not_text_come_out_as_the_bytes_they_are(tmp_path):
    """Paths need not be UTF-8, and are printed all the same."""
    cache = os.fsencode(tmp_path) + b"/caf\xe9"
    environment = os.environ | {"FRAMETX_CACHE": os.fsdecode(cache), "PYTHONIOENCODING": "utf-8:strict"}
    program = [sys.executable, "-m", "frametx", "models", "list"]
    done = subprocess.run(program, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert cache in done.stdout
