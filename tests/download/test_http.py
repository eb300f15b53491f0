"""Files from an http server with faults."""

from __future__ import annotations

import email.utils
import hashlib
import socket
import ssl
import threading
import time

import pytest

from frametx.download import web
from frametx.download.http import fetch_http
from frametx.download.part import read_state
from frametx.errors import DownloadError, QuotaExceeded
from tests.servers.files import FakeFiles
from tests.servers.mega import Reply
from tests.servers.mega_world import make_certificate

HALF = 1_500_000


def stop(_seconds):
    raise DownloadError("stopped by the test")


def begin(files, job, cut=HALF, **changes):
    """Fetch until the connection is cut, as an earlier run would have left it."""
    files.script = [Reply(cut_after=cut)]
    task = job(wait=stop, **changes)
    with pytest.raises(DownloadError, match="stopped by the test"):
        fetch_http(files.url + "/a", task)
    files.script.clear()
    return task


def test_a_file_arrives_whole_and_as_it_is(files, job, checkpoint):
    """The bytes are asked for without compression and hashed on the way."""
    fetched = fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint
    assert fetched.sha256 == hashlib.sha256(checkpoint).hexdigest()
    assert fetched.vouched_by == "nothing"
    assert files.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("cut", [1, 65_536, HALF, 3_000_002])
def test_a_later_run_asks_only_for_the_rest(files, job, checkpoint, cut):
    """The server's strong ETag goes back as If-Range, and the part grows on."""
    begin(files, job, cut)
    fetched = fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint
    assert fetched.sha256 == hashlib.sha256(checkpoint).hexdigest()
    assert files.asked[-1].headers["range"] == f"bytes={cut}-"
    assert files.asked[-1].headers["if-range"] == '"one"'


def test_a_date_serves_as_well_as_a_tag(files, job, checkpoint):
    """Last-Modified is the validator where there is no ETag."""
    files.headers = {"Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"}
    begin(files, job)
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint
    assert files.asked[-1].headers["if-range"] == "Sun, 22 Nov 2026 10:00:00 GMT"


def test_a_changed_file_is_fetched_from_the_beginning(files, job, checkpoint, notes):
    """When the server's file is another one by now, nothing of the old part stays in it."""
    begin(files, job)
    files.body, files.headers = checkpoint[::-1], {"ETag": '"two"'}
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint[::-1]
    assert any("starts over" in note for note in notes)


def test_of_a_changed_file_that_is_cut_nothing_old_stays_either(files, job, checkpoint):
    """Stopped soon after it started over, the part is as long as what it has of the new file, not as the old one."""
    begin(files, job)
    files.body, files.headers = checkpoint[::-1], {"ETag": '"two"'}
    begin(files, job, cut=65_536)
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint[::-1]


def test_a_rest_of_another_file_is_not_put_to_the_part(files, job, checkpoint):
    """A server that does not know If-Range sends the rest of whatever is there now; its tag tells."""
    begin(files, job)
    files.body, files.headers, files.conditions = checkpoint[::-1], {"ETag": '"two"'}, False
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint[::-1]


def test_a_rest_need_not_repeat_the_date(files, job, checkpoint):
    """In answer to If-Range servers should leave out what the client has: a second cut is gone on after, too."""
    files.headers = {"Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"}
    begin(files, job)
    rest = {"Content-Range": f"bytes {HALF}-{len(checkpoint) - 1}/{len(checkpoint)}"}
    files.script = [Reply(status=206, headers=rest, body=checkpoint[HALF:], cut_after=HALF // 2)]
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint
    assert files.asked[-1].headers["range"] == f"bytes={HALF + HALF // 2}-"


@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_strong_validator_a_part_is_not_trusted(files, job, checkpoint, headers):
    """A weak tag or none may not be used to go on: the download starts over."""
    files.headers = headers
    begin(files, job)
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint
    assert "range" not in files.asked[-1].headers


def test_without_a_validator_a_cut_download_starts_over_in_the_same_run(files, job, checkpoint):
    """The file may have changed between the two requests, and nothing would tell."""
    files.headers = {}
    files.script = [Reply(cut_after=HALF)]
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint
    assert "range" not in files.asked[-1].headers


def test_a_known_digest_makes_any_part_good_enough_to_try(files, job, checkpoint):
    """Where the digest will tell at the end, the part is continued without a validator, even one from another source."""
    task = job(sha256=hashlib.sha256(checkpoint).hexdigest())
    task.part.write_bytes(checkpoint[:HALF])
    fetched = fetch_http(files.url + "/b", task)
    assert fetched.sha256 == task.sha256
    assert files.asked[-1].headers["range"] == f"bytes={HALF}-"


def test_a_server_without_ranges_starts_over(files, job, checkpoint):
    """A 200 in answer to a range is the whole file."""
    begin(files, job)
    files.ranges = False
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint


def test_a_server_that_always_cuts_and_cannot_continue_is_given_up(files, job, waits):
    """Fetching the same first half again and again is no progress."""
    files.ranges = False
    files.script = [Reply(cut_after=HALF)] * 50
    with pytest.raises(DownloadError, match="gave up after 5 more tries"):
        fetch_http(files.url + "/a", job())
    assert len(waits) == 5


def test_a_complete_part_is_only_checked(files, job, checkpoint):
    """When the last run was killed just before its end, not a byte is sent again."""
    begin(files, job)
    task = job()
    task.part.write_bytes(checkpoint)
    fetched = fetch_http(files.url + "/a", task)
    assert fetched.sha256 == hashlib.sha256(checkpoint).hexdigest()


def test_a_part_longer_than_the_file_is_dropped(files, job, checkpoint):
    """A 416 means that the part is of something else."""
    begin(files, job)
    files.body = checkpoint[: HALF // 2]
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint[: HALF // 2]


def test_a_wrong_range_in_answer_is_not_put_in(files, job, checkpoint):
    """A server that sends another part than asked for cannot spoil the file."""
    begin(files, job)
    files.script = [Reply(status=206, headers={"Content-Range": "bytes 5-9/3000003"}, body=b"wrong")]
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_busy_servers_are_tried_again(files, job, checkpoint, waits, status):
    """Statuses that pass are waited for, as long as Retry-After asks."""
    files.script = [Reply(status=status, headers={"Retry-After": "7"})]
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint
    assert waits == [7]


def test_a_long_retry_after_is_said_and_not_waited_for(files, job, waits):
    """An hour is for the person to decide, whether in seconds or as a date."""
    for value in ("3600", email.utils.formatdate(time.time() + 3600, usegmt=True)):
        files.script = [Reply(status=503, headers={"Retry-After": value})]
        with pytest.raises(QuotaExceeded, match=r"can go on in (60 min|1 h 00 min)") as caught:
            fetch_http(files.url + "/a", job())
        assert 3500 < caught.value.wait_seconds <= 3601
    assert waits == []


@pytest.mark.parametrize(("status", "says"), [(401, "password"), (403, "refuses"), (404, "not have"), (410, "no more")])
def test_statuses_that_stay_are_named_at_once(files, job, waits, status, says):
    """What will not pass is said without another try."""
    files.script = [Reply(status=status)]
    with pytest.raises(DownloadError, match=says):
        fetch_http(files.url + "/a", job())
    assert waits == []


def test_a_file_larger_than_allowed_is_refused_before_it_is_read(files, job, checkpoint):
    """The announced size is compared before the first byte is written."""
    with pytest.raises(DownloadError, match="has 3000003 bytes; at most 1000 are expected"):
        fetch_http(files.url + "/a", task := job(limit_bytes=1000))
    assert task.part.stat().st_size == 0


def test_an_endless_body_without_a_length_is_stopped(files, job):
    """Where no size is announced, the limit holds for what arrives."""
    files.headers["Transfer-Encoding"] = "chunked"
    body = b"%x\r\n" % 500_000 + bytes(500_000) + b"\r\n"
    files.script = [Reply(headers={"Transfer-Encoding": "chunked", "Content-Length": ""}, body=body * 3 + b"0\r\n\r\n")]
    with pytest.raises(DownloadError, match="more bytes than expected"):
        fetch_http(files.url + "/a", task := job(limit_bytes=1_000_000))
    assert task.part.stat().st_size <= 1_000_000


def test_a_compressed_body_is_refused(files, job):
    """What was asked for as it is and comes encoded would not be the file."""
    files.script = [Reply(headers={"Content-Encoding": "gzip"}, body=b"zipped")]
    with pytest.raises(DownloadError, match="encoded"):
        fetch_http(files.url + "/a", job())


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "https://127.0.0.1/x", "data:,x"])
def test_redirects_to_other_schemes_are_refused(files, job, target):
    """A server cannot send the client elsewhere than to its own kind."""
    files.script = [Reply(status=302, headers={"Location": target}, body=b"")]
    with pytest.raises(DownloadError, match="redirected from http to"):
        fetch_http(files.url + "/a", job())


def test_redirects_within_http_are_followed_but_not_forever(files, job, checkpoint):
    """Mirrors redirect; loops end."""
    files.script = [Reply(status=302, headers={"Location": "/elsewhere"}, body=b"")]
    fetch_http(files.url + "/a", task := job())
    assert task.part.read_bytes() == checkpoint
    assert files.asked[-1].path == "/elsewhere"
    files.script = [Reply(status=307, headers={"Location": "/again"}, body=b"")] * 20
    with pytest.raises(DownloadError, match="more than 5 times"):
        fetch_http(files.url + "/a", job())


def test_the_name_in_a_header_is_never_a_path(files, job, tmp_path):
    """Content-Disposition is not looked at."""
    files.headers["Content-Disposition"] = 'attachment; filename="../../evil.pth"'
    fetch_http(files.url + "/a", task := job())
    assert {path.name for path in tmp_path.iterdir()} == {task.part.name, task.part.name + ".json"}


def test_a_proxy_is_used_when_the_environment_names_one(files, job, checkpoint, monkeypatch):
    """HTTP_PROXY is honoured: the request goes to the proxy with the whole address."""
    proxy = FakeFiles(checkpoint)
    proxy.start()
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    try:
        fetch_http("http://mirror.invalid/v10.pth", task := job())
    finally:
        proxy.stop()
    assert task.part.read_bytes() == checkpoint
    assert proxy.asked[0].path == "http://mirror.invalid/v10.pth"


def test_a_refused_connection_says_so_in_plain_words(job):
    """No pool names and no object addresses."""
    with pytest.raises(
        DownloadError, match=r"^127\.0\.0\.1: the connection was refused \(gave up after 5 more tries\)$"
    ):
        fetch_http("http://127.0.0.1:9/x", job())


def test_a_body_that_stalls_is_given_up_and_continued(files, job, checkpoint, monkeypatch):
    """A connection that stays open and sends nothing is not waited for forever."""
    monkeypatch.setattr(web, "READ_SECONDS", 0.2)
    go_on = threading.Event()
    files.script = [Reply(cut_after=HALF, hold=go_on)]
    notes = []
    fetch_http(files.url + "/a", task := job(on_note=notes.append))
    go_on.set()
    assert task.part.read_bytes() == checkpoint
    assert "no answer in time" in notes[0]


def test_a_certificate_that_is_not_trusted_is_refused_at_once(job, files, waits, tmp_path):
    """Over https nothing is taken from a server that anybody could be; with the certificate known it works."""
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    files.wrap(context)
    with pytest.raises(DownloadError, match="certificate is not trusted"):
        fetch_http(files.url + "/a", job())
    assert waits == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert fetch_http(files.url + "/a", job()).vouched_by == "tls"


def test_a_handshake_that_is_cut_is_tried_again(job, waits):
    """A server that hangs up before it is secure gets its five more tries."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def hang_up():
            for _ in range(6):
                server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(DownloadError, match="gave up after 5 more tries"):
            fetch_http(f"https://127.0.0.1:{port}/a", job())
        thread.join(10)
    assert len(waits) == 5


def test_what_is_kept_about_a_part_may_be_garbage(files, job, checkpoint):
    """A damaged note beside the part means starting over, not stumbling."""
    for text in ("", "[]", "{", '{"url": 5, "validator": []}', f'{{"url": "{files.url}/a", "validator": 7}}'):
        job().part.unlink(missing_ok=True)
        task = begin(files, job)
        task.part.with_name(task.part.name + ".json").write_text(text)
        fetch_http(files.url + "/a", job())
        assert task.part.read_bytes() == checkpoint
        assert read_state(task.part)["validator"] == '"one"'
