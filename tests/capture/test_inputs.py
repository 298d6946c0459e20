"""The names that people give captures by, and the captures behind them."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from socks5sniff.capture import open_captures
from socks5sniff.capture import remote as remote_files
from socks5sniff.capture.inputs import Candidate, expand
from socks5sniff.capture.remote import RemoteFile, shown
from socks5sniff.errors import DamagedInputError, InputError, MissingError, NotACaptureError

from .samples import START, Frame, frames, full, pcap, pcapng, plain, read

CONTENT = frames(300, largest=400)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Captures of three hundred frames in directories, beside what is none."""
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "2.pcap").write_bytes(pcap(CONTENT[100:200]))
    (tmp_path / "a" / "1.pcapng.gz").write_bytes(gzip.compress(pcapng(CONTENT[200:])))
    (tmp_path / "a" / "deep" / "no name of a capture").write_bytes(pcap(CONTENT[:100]))
    (tmp_path / "a" / "notes.txt").write_text("what was captured when")
    (tmp_path / "a" / "empty.pcap").touch()
    return tmp_path


def names(found: list[str], folder: Path) -> list[str]:
    return [os.path.relpath(name, folder) for name in found]


def total(name: str) -> tuple[list[Frame], list[str]]:
    """All frames that a name leads to, and what was noted."""
    told: list[str] = []
    content = [
        Frame(int(batch.time[row]), batch.frame(row), int(batch.length[row]))
        for batch in open_captures(expand([name]), note=told.append)
        for row in range(len(batch))
    ]
    return content, told


def test_files_and_standard_input_are_what_they_are(folder: Path) -> None:
    given = [str(folder / "a" / "2.pcap"), "-", str(folder / "nothing")]
    assert expand(given) == given
    assert expand([given[0], given[0]]) == [given[0], given[0]]


def test_a_directory_is_all_that_lies_under_it(folder: Path) -> None:
    found = expand([str(folder)])
    assert names(found, folder / "a") == [
        "1.pcapng.gz",
        "2.pcap",
        "deep/no name of a capture",
        "empty.pcap",
        "notes.txt",
    ]
    assert all(isinstance(name, Candidate) for name in found)


def test_of_a_directory_the_captures_are_read_in_the_order_of_their_frames(folder: Path) -> None:
    content, told = total(str(folder))
    assert content == full(CONTENT)
    assert sorted(line.split(": ")[1].split(",")[0] for line in told) == ["empty", "not a pcap or pcapng capture"]


def test_what_was_named_has_to_be_a_capture(folder: Path) -> None:
    rows, error = read(folder / "a" / "2.pcap", folder / "a" / "notes.txt")
    assert plain(rows) == full(CONTENT[100:200])
    assert isinstance(error, NotACaptureError)


def test_a_directory_without_a_capture(folder: Path) -> None:
    (folder / "b").mkdir()
    with pytest.raises(InputError, match="a directory without a file in it"):
        expand([str(folder / "b")])
    for name in "xy":
        (folder / "b" / name).write_text("no capture at all")
    with pytest.raises(NotACaptureError, match="none of 2 files is a capture"):
        list(open_captures(expand([str(folder / "b")])))


def test_a_damaged_file_ends_only_itself(folder: Path) -> None:
    whole = (folder / "a" / "2.pcap").read_bytes()
    (folder / "a" / "2.pcap").write_bytes(whole[: len(whole) - 7])
    rows, error = read(*map(Path, expand([str(folder / "a" / "2.pcap"), str(folder / "a" / "deep")])))
    assert len(rows) == 199
    assert isinstance(error, DamagedInputError)


def test_special_files_and_circles_are_passed_over(folder: Path) -> None:
    os.mkfifo(folder / "a" / "pipe")
    (folder / "a" / "again").symlink_to(folder / "a")
    (folder / "a" / "gone").symlink_to(folder / "nothing")
    (folder / "a" / "link.pcap").symlink_to(folder / "a" / "2.pcap")
    assert names(expand([str(folder)]), folder / "a") == [
        "1.pcapng.gz",
        "2.pcap",
        "deep/no name of a capture",
        "empty.pcap",
        "notes.txt",
    ]


def test_patterns(folder: Path) -> None:
    assert names(expand([str(folder / "a" / "?.pc*")]), folder / "a") == ["1.pcapng.gz", "2.pcap"]
    assert names(expand([str(folder / "**" / "no*")]), folder / "a") == ["deep/no name of a capture", "notes.txt"]
    assert names(expand([str(folder / "*")]), folder / "a")[0] == "1.pcapng.gz"
    with pytest.raises(InputError, match="no file matches"):
        expand([str(folder / "*.cap")])


def test_a_name_with_a_star_in_it_is_a_name_first(folder: Path) -> None:
    odd = folder / "a" / "*.pcap"
    odd.write_bytes(pcap(CONTENT))
    assert expand([str(odd)]) == [str(odd)]


def test_a_list(folder: Path) -> None:
    listing = folder / "list"
    listing.write_text(f"# of today\n\n{folder}/a/2.pcap\n  {folder}/a/deep  \n")
    assert names(expand([f"@{listing}"]), folder / "a") == ["2.pcap", "deep/no name of a capture"]
    listing.write_text(f"@{listing}\n")
    assert expand([f"@{listing}"]) == [f"@{listing}"]  # a list is no list of lists
    listing.write_text("\n")
    with pytest.raises(InputError, match="a list without a name in it"):
        expand([f"@{listing}"])
    with pytest.raises(InputError, match="the list cannot be read: No such file"):
        expand([f"@{folder}/nothing"])
    listing.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        expand([f"@{listing}"])


def test_a_list_from_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{folder}/a/2.pcap\n"))
    assert names(expand(["@-"]), folder) == ["a/2.pcap"]


def test_a_file_that_several_names_lead_to_is_read_once(folder: Path) -> None:
    given = [str(folder / "a" / "2.pcap"), str(folder), str(folder / "a" / "*")]
    assert names(expand(given), folder / "a") == [
        "2.pcap",
        "1.pcapng.gz",
        "deep/no name of a capture",
        "empty.pcap",
        "notes.txt",
    ]


def test_a_file_url_is_a_file(folder: Path) -> None:
    (folder / "with space.pcap").write_bytes(pcap(CONTENT))
    assert expand([f"file://{folder}/with%20space.pcap"]) == [f"{folder}/with space.pcap"]


class TestMemory:
    """Files of fsspec's own, which need no network."""

    @pytest.fixture(autouse=True)
    def files(self) -> Iterator[None]:
        fsspec = pytest.importorskip("fsspec")
        memory = fsspec.filesystem("memory")
        memory.pipe("/ring/b.pcap", pcap(CONTENT[:150]))
        memory.pipe("/ring/deep/a.pcapng", pcapng(CONTENT[150:]))
        memory.pipe("/ring/notes", b"some words about it")
        yield
        memory.store.clear()

    def test_a_file(self) -> None:
        assert total("memory://ring/b.pcap") == (full(CONTENT[:150]), [])

    def test_a_folder(self) -> None:
        assert expand(["memory://ring"]) == [
            "memory:///ring/b.pcap",
            "memory:///ring/deep/a.pcapng",
            "memory:///ring/notes",
        ]
        content, told = total("memory://ring")
        assert content == full(CONTENT)
        assert len(told) == 1

    def test_a_pattern(self) -> None:
        assert expand(["memory://ring/*.pcap"]) == ["memory:///ring/b.pcap"]
        with pytest.raises(InputError, match="no file matches"):
            expand(["memory://ring/*.nothing"])

    def test_nothing(self) -> None:
        with pytest.raises(InputError, match="memory://ring/nothing: no such file"):
            list(open_captures(expand(["memory://ring/nothing"])))

    @pytest.mark.parametrize("first", [1, 50, 1 << 20])
    def test_the_size_of_the_ranges_does_not_matter(self, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
        monkeypatch.setattr(remote_files, "FIRST", first)
        monkeypatch.setattr(remote_files, "RANGE", 777)
        content, _ = total("memory://ring")
        assert content == full(CONTENT)

    def test_the_next_file_is_on_its_way_before_its_turn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class AtOnce:
            def submit(self, step: Callable[[int], bytes], size: int) -> Future[bytes]:
                done: Future[bytes] = Future()
                done.set_result(step(size))
                return done

        asked: list[tuple[str, int]] = []
        fetch = RemoteFile._fetch

        def noted(file: RemoteFile, size: int) -> bytes:
            asked.append((file._path, file._position))
            return fetch(file, size)

        monkeypatch.setattr(remote_files, "FIRST", 1000)
        monkeypatch.setattr(remote_files, "RANGE", 2000)
        monkeypatch.setattr(remote_files, "_pool", [AtOnce()])
        monkeypatch.setattr(RemoteFile, "_fetch", noted)
        assert total("memory://ring")[0] == full(CONTENT)
        last = 1000 + (len(pcap(CONTENT[:150])) - 1001) // 2000 * 2000
        assert asked.index(("/ring/deep/a.pcapng", 1000)) < asked.index(("/ring/b.pcap", last))

    def test_progress_knows_the_size(self) -> None:
        told: list[tuple[int, int]] = []
        for _ in open_captures(["memory://ring/b.pcap"], progress=lambda *octets: told.append(octets)):
            pass
        size = len(pcap(CONTENT[:150]))
        assert told[-1] == (size, size)


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, with ranges or without, and notes what is asked for."""

    ranges = True
    asked: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        said = self.headers.get("Range")
        self.asked.append(said or "all")
        path = Path(self.translate_path(self.path))
        if not self.ranges or said is None or not path.is_file():
            return super().do_GET()
        octets = path.read_bytes()
        first, last = (int(number) for number in said.removeprefix("bytes=").split("-"))
        piece = octets[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(piece) - 1}/{len(octets)}")
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        self.wfile.write(piece)
        return None


@pytest.fixture(params=[True, False], ids=["with ranges", "without ranges"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, list[str], bool]]:
    """The address of an HTTP server of the folder, what it was asked for, and whether it knows ranges."""
    pytest.importorskip("aiohttp")
    asked: list[str] = []
    kind = type("Asked", (Handler,), {"ranges": request.param, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(folder))) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", asked, request.param
        running.shutdown()
        thread.join()


class TestHttp:
    """A server on this machine."""

    def test_a_file_is_asked_for_in_ranges(
        self, server: tuple[str, list[str], bool], folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address, asked, ranges = server
        monkeypatch.setattr(remote_files, "FIRST", 1000)
        monkeypatch.setattr(remote_files, "RANGE", 5000)
        assert total(f"{address}/a/2.pcap") == (full(CONTENT[100:200]), [])
        size = (folder / "a" / "2.pcap").stat().st_size
        if ranges:
            assert asked[0] == "bytes=0-999"
            assert len(asked) == 1 + -(-(size - 1000) // 5000)
            assert len(set(asked)) == len(asked)
        else:
            assert asked.count("all") == 1

    def test_a_small_file_is_asked_for_once(self, server: tuple[str, list[str], bool]) -> None:
        address, asked, ranges = server
        assert total(f"{address}/a/1.pcapng.gz")[0] == full(CONTENT[200:])
        assert len(asked) == (2 if ranges else 3)

    def test_several_files_and_what_is_not_there(self, server: tuple[str, list[str], bool]) -> None:
        address, _, _ = server
        rows, error = read(f"{address}/a/1.pcapng.gz", f"{address}/nothing.pcap", f"{address}/a/2.pcap")
        assert plain(rows) == full(CONTENT[100:])
        assert str(error) == f"{address}/nothing.pcap: no such file"

    def test_a_folder_is_what_its_page_names(self, server: tuple[str, list[str], bool]) -> None:
        address, _, _ = server
        content, told = total(f"{address}/a/")
        assert content == full(CONTENT)
        assert len(told) == 2

    def test_a_signature_is_never_shown(self, server: tuple[str, list[str], bool]) -> None:
        address, _, _ = server
        for batch in open_captures([f"{address}/a/2.pcap?signature=secret"]):
            assert {one.capture for one in batch.interfaces} == {f"{address}/a/2.pcap"}
        with pytest.raises(InputError) as caught:
            list(open_captures([f"{address}/nothing?signature=secret"]))
        assert "secret" not in str(caught.value)

    def test_a_server_that_is_not_there(self) -> None:
        pytest.importorskip("aiohttp")
        with pytest.raises(InputError, match=r"http://127.0.0.1:9/x: cannot be opened: "):
            list(open_captures(["http://127.0.0.1:9/x"]))


def test_a_password_in_a_url_is_refused() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(InputError) as caught:
        expand(["ssh://me:secret@host/x.pcap"])
    assert "secret" not in str(caught.value)
    assert "me@host" in str(caught.value)


def test_what_is_shown_of_a_url() -> None:
    assert shown("s3://bucket/key.pcap") == "s3://bucket/key.pcap"
    assert shown("https://me:pw@host:8443/x?sig=1#part") == "https://me@host:8443/x"
    assert shown("C:/captures?/x") == "C:/captures?/x"


@pytest.mark.parametrize(("url", "extra"), [("s3://b/k", "s3"), ("gs://b/k", "gs"), ("az://b/k", "az")])
def test_a_missing_package_is_named(url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = pytest.importorskip("fsspec.registry")
    for package in ("s3fs", "gcsfs", "adlfs"):
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(registry._registry, url.split(":")[0], raising=False)  # where another test has used it
    with pytest.raises(MissingError, match=rf"pip install 'socks5sniff\[{extra}\]'"):
        expand([url])


def test_an_unknown_kind_of_url() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(InputError, match="nowhere://x: cannot be opened"):
        expand(["nowhere://x"])


def test_files_of_this_machine_need_no_fsspec(folder: Path) -> None:
    code = (
        "import sys; from socks5sniff.capture import open_captures; "
        f"list(open_captures([{str(folder / 'a' / '2.pcap')!r}])); "
        "sys.exit(bool({'fsspec', 'aiohttp', 'concurrent.futures', 'urllib.parse', 'glob'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": ""}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0


def test_times_decide_not_names(tmp_path: Path) -> None:
    for place, name in enumerate("cab"):
        (tmp_path / name).write_bytes(pcap([Frame(START + place * 1_000_000_000, name.encode())]))
    content, _ = total(str(tmp_path))
    assert [frame.octets for frame in content] == [b"c", b"a", b"b"]
