"""Who may write into a part file."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from frametx.download.claim import claimed, parts_bytes


@pytest.fixture
def part(tmp_path):
    return tmp_path / "model.part"


def dead_pid():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def fail(part, kind):
    """Write something and stop with an error."""
    with claimed(part) as mine:
        mine.write_bytes(b"so far")
        raise kind


def claim_of(part, pid):
    """The name under which another process of this machine would hold the part."""
    with claimed(part) as mine:
        machine = mine.name.split(".")[-1].split("-")[0]
    return part.with_name(f"{part.name}.{machine}-{pid}-0123abcd")


def test_a_part_is_held_under_a_name_of_its_own_and_given_back(part):
    """While it is claimed nobody finds it; afterwards everybody does."""
    part.write_bytes(b"begun")
    with claimed(part) as mine:
        assert not part.exists()
        mine.write_bytes(b"begun and more")
    assert part.read_bytes() == b"begun and more"
    assert list(part.parent.iterdir()) == [part]


def test_a_part_is_given_back_when_the_download_fails(part):
    """An error or an interruption loses nothing."""
    for kind in (ValueError, KeyboardInterrupt):
        with pytest.raises(kind):
            fail(part, kind)
        assert part.read_bytes() == b"so far"


def test_two_claims_at_once_never_share_a_file(part):
    """Where locks lie, the second process gets a file of its own."""
    part.write_bytes(b"begun")
    with claimed(part) as one, claimed(part) as two:
        assert one != two
        assert one.read_bytes() == b"begun"
        assert not two.exists()


def test_the_longer_of_two_parts_is_kept(part):
    """When two processes give back, the one that has more wins."""
    with claimed(part) as one, claimed(part) as two:
        one.write_bytes(b"long enough")
        two.write_bytes(b"short")
    assert part.read_bytes() == b"long enough"
    assert list(part.parent.iterdir()) == [part]


def test_the_part_of_a_killed_process_is_taken_over(part):
    """A claim whose process is gone is continued; a shorter one is removed."""
    claim_of(part, dead_pid()).write_bytes(b"long ago begun")
    claim_of(part, dead_pid()).with_name(claim_of(part, dead_pid()).name[:-1] + "e").write_bytes(b"short")
    assert parts_bytes(part) == len(b"long ago begun")
    with claimed(part) as mine:
        assert mine.read_bytes() == b"long ago begun"
    assert list(part.parent.iterdir()) == [part]


def test_the_part_of_a_living_process_is_left_alone(part):
    """Only age makes it abandoned."""
    theirs = claim_of(part, os.getppid())
    theirs.write_bytes(b"at work")
    with claimed(part) as mine:
        assert not mine.exists()
        assert theirs.read_bytes() == b"at work"
    os.utime(theirs, (0, 0))
    with claimed(part) as mine:
        assert mine.read_bytes() == b"at work"


def test_the_part_of_another_machine_is_left_alone_until_it_is_old(part):
    """A shared cache: process numbers of other machines say nothing."""
    theirs = part.with_name(part.name + ".00000000-1-0123abcd")
    theirs.write_bytes(b"at work")
    with claimed(part) as mine:
        assert not mine.exists()
    os.utime(theirs, (0, 0))
    with claimed(part) as mine:
        assert mine.read_bytes() == b"at work"


def test_files_that_look_alike_are_not_touched(part):
    """Only names that are claims are ever taken over."""
    other = part.with_name(part.name + ".backup")
    other.write_bytes(b"mine")
    os.utime(other, (0, 0))
    with claimed(part):
        pass
    assert other.read_bytes() == b"mine"
