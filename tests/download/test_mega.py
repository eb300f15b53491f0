"""Public MEGA files, from a MEGA of our own."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frametx.download.mega import fetch_mega
from frametx.download.mega_cipher import FileKey, MetaMac, chunk_lengths
from frametx.errors import DownloadError, QuotaExceeded
from tests.servers.mega import MegaFile, Reply, api

KIB = 1024
EDGES = (128 * KIB, 384 * KIB, 4608 * KIB)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, *(edge + step for edge in EDGES for step in (-1, 0, 1)), 5_700_001])
def test_a_file_arrives_whole_whatever_its_size(mega, job, size):
    """Around every edge of a chunk and of a cipher block the plaintext and its digest are right."""
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    fetched = fetch_mega(mega.add(data), task := job())
    assert task.part.read_bytes() == data
    assert fetched.sha256 == hashlib.sha256(data).hexdigest()
    assert (fetched.size_bytes, fetched.vouched_by) == (size, "mac")


@settings(deadline=None, max_examples=50)
@given(size=st.integers(0, 6_000_000))
def test_chunks_cover_a_file_as_the_protocol_says(size):
    """The first eight chunks grow by 128 KiB, the others have 1 MiB, the last what is left."""
    lengths = list(chunk_lengths(size))
    assert sum(lengths) == size
    assert all(length == min((number + 1) * 128, 1024) * KIB for number, length in enumerate(lengths[:-1]))


@settings(deadline=None, max_examples=50)
@given(data=st.binary(max_size=300), flip=st.integers(0, 300 * 8 - 1))
def test_the_code_of_a_file_notices_every_bit(data, flip):
    """The plaintext comes to the code in the link, and with any one bit changed it does not."""
    file = MegaFile(data, "x")
    key = FileKey.from_link(b"".join(word.to_bytes(4, "big") for word in file.words))
    mac = MetaMac(key)
    if data:
        mac.add(data)
    assert mac.matches()
    if flip // 8 < len(data):
        spoilt = bytearray(data)
        spoilt[flip // 8] ^= 1 << flip % 8
        mac = MetaMac(key)
        mac.add(spoilt)
        assert not mac.matches()


def test_the_key_never_goes_to_the_server(mega, job):
    """Requests hold the handle alone."""
    link = mega.add(b"data")
    fetch_mega(link, job())
    sent = str(mega.commands)
    assert link.split("#")[1] not in sent
    assert mega.commands[0]["command"] == {"a": "g", "g": 1, "p": link.split("/")[-1].split("#")[0], "ssl": 2}


@pytest.mark.parametrize("cut", [0, 1, 1000, 128 * KIB, 128 * KIB + 1, 2_000_000, 3_000_002])
def test_a_cut_connection_is_continued_from_the_last_whole_chunk(mega, job, checkpoint, waits, cut):
    """Wherever the body ends early, only what is missing is asked for, at a new address."""
    mega.data_script = [Reply(cut_after=cut)]
    mega.single_use = True
    fetch_mega(mega.add(checkpoint), task := job())
    assert task.part.read_bytes() == checkpoint
    start = mega.ranges[1][0]
    assert cut - 1024 * KIB < start <= cut
    assert len(waits) == 1


@pytest.mark.parametrize("script", ["api_script", "data_script"])
def test_a_connection_dropped_without_a_word_is_tried_again(mega, job, checkpoint, script):
    """Neither the API nor the file server needs to answer the first time."""
    setattr(mega, script, [Reply(drop=True), Reply(drop=True)])
    fetch_mega(mega.add(checkpoint), task := job())
    assert task.part.read_bytes() == checkpoint


def test_many_cuts_wear_nobody_out_as_long_as_something_arrives(mega, job, checkpoint, waits):
    """The patience is for failures without progress: ten cuts with a chunk between each are fine."""
    mega.data_script = [Reply(cut_after=800 * KIB) if n % 3 == 0 else Reply(drop=True) for n in range(10)]
    fetch_mega(mega.add(checkpoint), task := job())
    assert task.part.read_bytes() == checkpoint
    assert len(waits) == 10


def test_patience_ends_and_the_part_stays(mega, job, checkpoint, waits):
    """After five more tries without a byte the download fails; the next run asks only for the rest."""
    link = mega.add(checkpoint)
    mega.data_script = [Reply(cut_after=2_000_000), *[Reply(drop=True)] * 6]
    with pytest.raises(DownloadError, match="gave up after 5 more tries") as caught:
        fetch_mega(link, task := job())
    assert "kept" in caught.value.hint
    assert [round(wait) for wait in waits] == sorted(round(wait) for wait in waits)
    assert len(waits) == 5
    assert sum(waits) > 0.7 * 31
    fetch_mega(link, task)
    assert task.part.read_bytes() == checkpoint
    assert mega.ranges[-1][0] > 1_000_000


def test_a_spoilt_part_is_noticed_and_fetched_again(mega, job, checkpoint, notes):
    """A part that some other program changed does not come to the code, and is not built upon twice."""
    link = mega.add(checkpoint)
    task = job()
    task.part.write_bytes(bytes(1_000_000))
    fetch_mega(link, task)
    assert task.part.read_bytes() == checkpoint
    assert any("again from the beginning" in note for note in notes)


def test_a_flipped_bit_is_fetched_again_once(mega, job, checkpoint):
    """One bad transfer is repeated and good."""
    mega.data_script = [Reply(flip=1_234_567)]
    fetch_mega(mega.add(checkpoint), task := job())
    assert task.part.read_bytes() == checkpoint


def test_a_file_that_is_bad_at_the_source_is_refused(mega, job, checkpoint):
    """Twice a wrong code is an error, and nothing of it stays to be built upon."""
    mega.data_script = [Reply(flip=77), Reply(flip=77)]
    with pytest.raises(DownloadError, match="does not match the code in its link, twice"):
        fetch_mega(mega.add(checkpoint), task := job())
    assert task.part.stat().st_size == 0


def test_a_wrong_key_is_found_before_any_download(mega, job):
    """The attributes tell: not a byte of the file is asked for."""
    link, other = mega.add(b"one"), mega.add(b"two")
    with pytest.raises(DownloadError, match="key in the link does not fit"):
        fetch_mega(link.split("#")[0] + "#" + other.split("#")[1], job())
    assert mega.ranges == []


@pytest.mark.parametrize("status", [403, 404])
def test_an_expired_address_is_replaced(mega, job, checkpoint, status):
    """The file server's 403 and 404 lead to a new address, not to an end."""
    mega.data_script = [Reply(cut_after=1_500_000), Reply(status=status)]
    fetch_mega(mega.add(checkpoint), task := job())
    assert task.part.read_bytes() == checkpoint
    assert len(mega.commands) == 3


QUOTA = {
    "509 of the file server": ("data_script", Reply(status=509, headers={"X-MEGA-Time-Left": "7200"}), 7200),
    "509 without a time": ("data_script", Reply(status=509), 3600),
    "509 of the API": ("api_script", Reply(status=509, headers={"X-MEGA-Time-Left": "7200"}), 7200),
    "tl beside an address": ("api_script", Reply(extra={"tl": 7200}), 7200),
    "error and tl in an object": ("api_script", api([{"e": -17, "tl": 7200}]), 7200),
    "bare error": ("api_script", api(-17), 3600),
}


@pytest.mark.parametrize("case", QUOTA)
def test_a_used_up_quota_stops_politely(mega, job, checkpoint, waits, case):
    """However MEGA says it: nothing is waited for, the part stays, and the error says how long and what else to do."""
    script, reply, seconds = QUOTA[case]
    link = mega.add(checkpoint)
    mega.data_script = [Reply(cut_after=2_500_000)]
    with pytest.raises(DownloadError):
        fetch_mega(link, task := job(wait=_interrupt))
    mega.data_script, mega.api_script = [], []
    kept = task.part.stat().st_size
    getattr(mega, script).append(reply)
    with pytest.raises(QuotaExceeded, match="quota is used up; it can go on in") as caught:
        fetch_mega(link, job())
    assert caught.value.wait_seconds == seconds
    assert "browser" in caught.value.hint
    assert link in caught.value.hint
    assert waits == []
    assert task.part.stat().st_size == kept > 1_000_000


def _interrupt(_seconds):
    raise DownloadError("stopped by the test")


def test_a_short_quota_is_waited_for(mega, job, checkpoint, waits):
    """Up to a minute is waited, as long as MEGA asks."""
    mega.data_script = [Reply(status=509, headers={"X-MEGA-Time-Left": "42"})]
    fetch_mega(mega.add(checkpoint), task := job())
    assert task.part.read_bytes() == checkpoint
    assert waits == [42]


@pytest.mark.parametrize("form", ["header", "body"])
def test_work_is_proved_when_mega_asks_for_it(mega, job, form):
    """Both forms of the challenge are answered with a proof that MEGA's own rule accepts."""
    mega.hashcash = (form, 250)
    fetch_mega(mega.add(b"data"), task := job())
    assert task.part.read_bytes() == b"data"
    assert len(mega.commands) == 2
    assert len({command["query"]["id"] for command in mega.commands}) == 1  # the same request, repeated


def test_endless_challenges_are_refused(mega, job):
    """A server that is never content with the proof does not get more than a few."""
    mega.api_script = [Reply(status=402, headers={"X-Hashcash": "1:255:1:" + "A" * 64}, body=b"-27")] * 9
    with pytest.raises(DownloadError, match="more than 3 times"):
        fetch_mega(mega.add(b"data"), job())


@pytest.mark.parametrize("code", [-3, -4, -6, -8, -18, -19])
@pytest.mark.parametrize("shape", [lambda e: e, lambda e: [e], lambda e: [{"e": e}]])
def test_errors_that_pass_are_waited_for_in_every_shape(mega, job, code, shape):
    """A bare number, one in a list and one in an object mean the same."""
    mega.api_script = [api(shape(code))]
    fetch_mega(mega.add(b"data"), task := job())
    assert task.part.read_bytes() == b"data"


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (-2, "understand"),
        (-9, "gone"),
        (-11, "refuses"),
        (-14, "key"),
        (-16, "taken the file down"),
        (-15, "error -15"),
    ],
)
@pytest.mark.parametrize("shape", [lambda e: e, lambda e: [e], lambda e: [{"e": e}]])
def test_errors_that_stay_are_named_at_once(mega, job, waits, code, says, shape):
    """What will not pass is said without another try."""
    mega.api_script = [api(shape(code))]
    with pytest.raises(DownloadError, match=says) as caught:
        fetch_mega(mega.add(b"data"), job())
    assert caught.value.hint
    assert waits == []
    assert len(mega.commands) == 1


STRANGE = {
    "no JSON": (Reply(body=b"<html>busy</html>"), None),
    "no size": (api([{"g": "http://127.0.0.1", "at": "x"}]), "size None"),
    "a text": (api("busy"), "unknown form"),
    "two answers": (api([{"g": "x"}, {"g": "y"}]), "unknown form"),
    "taken down": (Reply(extra={"d": 1}), "taken the file down"),
    "no address": (Reply(extra={"g": None}), None),
    "no attributes": (Reply(extra={"at": None}), "no attributes"),
    "negative size": (Reply(extra={"s": -1}), "size -1"),
    "size is a text": (Reply(extra={"s": "9"}), "size '9'"),
    "larger than expected": (Reply(extra={"s": 1 << 50}), "at most"),
    "address of another scheme": (Reply(extra={"g": "file:///etc/passwd"}), "refused"),
    "endless answer": (Reply(body=b" " * (1 << 20) + b"  "), "longer than"),
    "status 500": (Reply(status=500), None),
    "status 404": (Reply(status=404), "status 404"),
}


@pytest.mark.parametrize("case", STRANGE)
def test_strange_answers_are_refused_or_tried_again(mega, job, case):
    """Nothing the API says makes the client stumble: it tries again or says what is wrong, before reading a byte."""
    reply, says = STRANGE[case]
    link = mega.add(b"data")
    mega.api_script = [reply]
    if says is None:
        fetch_mega(link, task := job())
        assert task.part.read_bytes() == b"data"
    else:
        with pytest.raises(DownloadError, match=says):
            fetch_mega(link, job())
        assert mega.ranges == []


def test_redirects_to_other_schemes_are_refused(mega, job):
    """The file server cannot send the client to a local file."""
    mega.data_script = [Reply(status=302, headers={"Location": "file:///etc/passwd"})]
    with pytest.raises(DownloadError, match="redirected from http"):
        fetch_mega(mega.add(b"data"), job())


@pytest.mark.parametrize("name", ["../../evil.pth", "/etc/passwd", "a\0b", "", "\x1b[2Jx"])
def test_the_name_inside_a_file_is_never_a_path(mega, job, tmp_path, name):
    """Whatever the uploader called it, the bytes go into the part file alone."""
    before = sorted(tmp_path.rglob("*"))
    fetch_mega(mega.add(b"data", name=name), task := job())
    assert sorted(tmp_path.rglob("*")) == [*before, task.part]


def test_progress_begins_where_the_last_run_stopped(mega, job, checkpoint):
    """Bytes are counted up to the end, in order, beginning with what was there."""
    link = mega.add(checkpoint)
    seen = []
    task = job(on_bytes=lambda done, total: seen.append((done, total)))
    task.part.write_bytes(checkpoint[:2_000_000])
    fetch_mega(link, task)
    counts = [done for done, _ in seen]
    assert counts == sorted(counts)
    assert counts[0] > 1_900_000
    assert seen[-1] == (len(checkpoint), len(checkpoint))


def test_a_part_of_another_file_that_is_longer_is_cut(mega, job):
    """Bytes behind the end of the file don't stay in it."""
    task = job()
    task.part.write_bytes(bytes(1_000_000))
    fetch_mega(mega.add(b"short"), task)
    assert task.part.read_bytes() == b"short"
