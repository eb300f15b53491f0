"""Links as people paste them."""

from __future__ import annotations

import base64

import pytest

from frametx.download.links import decode_base64, kind_of_source, parse_mega_link, source_key
from frametx.errors import DownloadError

HANDLE = "GwpXBBgb"
KEY = "eJLKvJaO589F-w5aOz6rzNMuanb2XKyNpPPGAXZoNj4"


@pytest.mark.parametrize(
    "url",
    [
        f"https://mega.nz/file/{HANDLE}#{KEY}",
        f"https://mega.nz/#!{HANDLE}!{KEY}",
        f"https://mega.co.nz/#!{HANDLE}!{KEY}",
        f"http://www.mega.co.nz/#!{HANDLE}!{KEY}",
        f"https://mega.nz/file/{HANDLE}%23{KEY}",
        f"https://mega.nz/%23%21{HANDLE}%21{KEY}",
        f" https://mega.nz/file/{HANDLE}#{KEY}.",
        f"https://mega.nz/file/{HANDLE}#{KEY},",
    ],
)
def test_both_link_forms_are_read_as_people_paste_them(url):
    """Old and new links, quoted or with a dot or comma behind, name the same file and key."""
    link = parse_mega_link(url)
    assert link.handle == HANDLE
    assert link.key == base64.urlsafe_b64decode(KEY + "=")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://mega.nz/folder/abcdefgh#abcdefghijklmnopqrstuv", "folder"),
        ("https://mega.nz/#F!abcdefgh!abcdefghijklmnopqrstuv", "folder"),
        (f"https://mega.nz/file/{HANDLE}", "complete"),
        (f"https://mega.nz/file/{HANDLE}#{KEY[:-1]}", "complete"),
        (f"https://mega.nz/file/{HANDLE}#{KEY}x", "complete"),
        (f"https://mega.nz/file/../{HANDLE}#{KEY}", "complete"),
    ],
)
def test_what_is_no_link_to_a_file_is_refused(url, says):
    """Folders and links cut short are named as such."""
    with pytest.raises(DownloadError, match=says):
        parse_mega_link(url)


@pytest.mark.parametrize("url", ["ftp://host/file", "javascript:alert(1)", "model.pth", "https:", "//host/x"])
def test_other_schemes_are_refused(url):
    """Only MEGA, http(s) and file links can be fetched."""
    with pytest.raises(DownloadError, match="cannot fetch"):
        kind_of_source(url)


def test_a_changed_link_has_another_name_in_the_cache():
    """The cache's folder follows the handle of a MEGA link and the whole of any other."""
    assert source_key(f"https://mega.nz/file/{HANDLE}#{KEY}") == HANDLE
    assert source_key("https://host/a") != source_key("https://host/b")


def test_base64_is_read_in_every_alphabet_in_use():
    """The URL alphabet, the classic one and stray commas all mean the same bytes."""
    assert decode_base64("-_-_") == decode_base64("+/+/") == decode_base64("-_,-_") == base64.b64decode("+/+/")


def test_what_is_no_base64_is_refused():
    """A foreign character is an error, not skipped."""
    with pytest.raises(DownloadError, match="base64"):
        decode_base64("ab$d")
