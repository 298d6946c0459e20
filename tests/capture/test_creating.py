"""A file that is written whole: it has its name once it is complete, and nothing of it is left otherwise."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from socks5sniff.capture.creating import whole_file
from socks5sniff.errors import OutputError


def test_it_has_its_name_once_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with whole_file(str(path)) as file:
        file.write(b"all of it")
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert [*tmp_path.iterdir()] == [path]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_others_may_read_what_is_not_private(tmp_path: Path) -> None:
    if os.name != "posix":
        return
    before = os.umask(0o022)
    try:
        with whole_file(str(tmp_path / "out"), private=False):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o644


@pytest.mark.parametrize("fault", [ValueError("a bug"), KeyboardInterrupt(), OutputError("the disk is full")])
def test_nothing_is_left_where_something_goes_wrong(fault: BaseException, tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"old")

    def fail() -> None:
        with whole_file(str(tmp_path / "out"), force=True) as file:
            file.write(b"half")
            raise fault

    with pytest.raises(type(fault)):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_bytes() == b"old"


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="out: No space left on device"), whole_file(str(tmp_path / "out")):
        raise OSError(28, "No space left on device")
    assert [*tmp_path.iterdir()] == []


def test_a_file_that_is_there_is_left_alone_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="--force"), whole_file(str(path)):
        pytest.fail("it must not be opened")
    with whole_file(str(path), force=True) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_comes_to_be_there_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(OutputError, match="--force"), whole_file(str(path)):
        path.write_bytes(b"another's")
    assert path.read_bytes() == b"another's"
    assert [*tmp_path.iterdir()] == [path]


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    try:
        (tmp_path / "out").symlink_to("old")
    except OSError:
        pytest.skip("this user may make no links here")
    with whole_file(str(tmp_path / "out"), force=True) as file:
        file.write(b"new")
    assert ((tmp_path / "old").read_bytes(), (tmp_path / "out").read_bytes()) == (b"old", b"new")


def test_where_no_file_can_be(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file"), whole_file(str(tmp_path / "missing" / "out")):
        pytest.fail("it must not be opened")


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="there are no devices")
def test_devices_are_written_as_they_are() -> None:
    with whole_file("/dev/null") as file:
        file.write(b"gone")
    assert not os.path.isfile("/dev/null")
