"""Live capture on a real loopback interface and a real veth pair: what it prints equals what the files hold."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import HTTP_PORT, PROXY_PORT, LiveLab, assert_alike, dropped, need, without_capture

ENGINES = ("ring", "scapy", "dumpcap")
OUR_PORT = PROXY_PORT + 2
HOLDING_CURL = f"exec curl -sS -x socks5://127.0.0.1:{PROXY_PORT} telnet://127.0.0.1:{HTTP_PORT} <fifo"
"""Opens a tunnel and sends nothing through it."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    need("unshare", "nsenter", "ip", "ss", "setpriv", "curl", "microsocks", "tcpdump")
    folder = tmp_path_factory.mktemp("live")
    for parent in (folder, *folder.parents):
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o011)  # `nobody` must get through to what it may write
    lab = LiveLab(folder)
    os.mkfifo(folder / "fifo")
    keeping_open = os.open(folder / "fifo", os.O_RDWR)
    try:
        lab.start("microsocks", "-i", "0.0.0.0", "-p", str(PROXY_PORT))
        lab.start("microsocks", "-i", "127.0.0.1", "-p", str(PROXY_PORT + 1), "-u", "alice", "-P", "opensesame")
        ours = (sys.executable, "-m", "socks5sniff", "proxy", "--quiet", "--listen")
        lab.start(*ours, f"127.0.0.1:{OUR_PORT}")
        lab.start(*ours, f"127.0.0.1:{OUR_PORT + 1}", "--user", "alice:opensesame")
        web = folder / "web"
        web.mkdir()
        (web / "index.html").write_bytes(bytes(300_000))
        lab.start(sys.executable, "-m", "http.server", str(HTTP_PORT), "--bind", "127.0.0.1", "--directory", str(web))
        for port in (PROXY_PORT, PROXY_PORT + 1, OUR_PORT, OUR_PORT + 1, HTTP_PORT):
            lab.wait_for_port(port)
        yield lab
    finally:
        lab.close()
        os.close(keeping_open)


def converse(lab: LiveLab, port: int) -> list[str]:
    """Conversations by address, by name, refused, and with a right and a wrong login; our proxy knows SOCKS4A, too.

    The outcomes to come. The proxy at the next port asks for a password.
    """
    here, asking, page = f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}", f"http://127.0.0.1:{HTTP_PORT}/"
    nobody_there = "http://127.0.0.1:9/"
    curl = ("curl", "-sS", "-m", "10", "-o", "page", "-x")
    lab.run(*curl, f"socks5://{here}", page)
    lab.run(*curl, f"socks5h://{here}", f"http://localhost:{HTTP_PORT}/")
    lab.run(*curl, f"socks5h://{here}", nobody_there, status=97)
    lab.run(*curl, f"socks5://alice:opensesame@{asking}", page)
    lab.run(*curl, f"socks5h://bob:wrong@{asking}", nobody_there, status=97)
    outcomes = ["succeeded", "succeeded", "rejected", "succeeded", "auth-failed"]
    if port == OUR_PORT:
        lab.run(*curl, f"socks4a://carol@{here}", f"http://localhost:{HTTP_PORT}/")
        outcomes.append("succeeded")
    return outcomes


@pytest.mark.parametrize("port", [PROXY_PORT, OUR_PORT], ids=["microsocks", "ours"])
@pytest.mark.parametrize("engine", ENGINES)
def test_live_output_equals_what_is_read_from_its_own_file_and_tcpdumps(lab: LiveLab, engine: str, port: int) -> None:
    if engine == "dumpcap":
        need("dumpcap")
    mine, theirs = lab.folder / f"{engine}-{port}.pcapng", lab.folder / f"{engine}-{port}.tcpdump"
    live = lab.live("--engine", engine, "--format", "jsonl", "-w", str(mine))
    with lab.tcpdump(theirs):
        outcomes = converse(lab, port)
        time.sleep(0.3)
    assert live.stop() == 0
    assert f"({engine})" in live.said
    assert dropped(live.said) == 0
    records = without_capture(live.records)
    assert [record["outcome"] for record in records] == outcomes
    assert records[0]["bytes"]["received"] > 300_000
    assert records == without_capture(lab.read(mine))
    assert_alike(records, without_capture(lab.read(theirs)))
    assert {record["capture"] for record in live.records} == {"lo"}


def test_python_clients_and_several_connections_at_once_are_all_found(lab: LiveLab) -> None:
    pytest.importorskip("socks", reason="PySocks not installed")
    mine = lab.folder / "pysocks.pcapng"
    script = (
        "import socks, sys, threading\n"
        "def fetch():\n"
        "    s = socks.create_connection(('127.0.0.1', int(sys.argv[2])), proxy_type=socks.SOCKS5,\n"
        "        proxy_addr='127.0.0.1', proxy_port=int(sys.argv[1]), proxy_rdns=True)\n"
        "    s.sendall(b'GET / HTTP/1.0\\r\\nHost: here\\r\\n\\r\\n')\n"
        "    while s.recv(65536): pass\n"
        "    s.close()\n"
        "threads = [threading.Thread(target=fetch) for _ in range(20)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
    )
    live = lab.live("--format", "jsonl", "-w", str(mine))
    lab.run(sys.executable, "-c", script, str(PROXY_PORT), str(HTTP_PORT))
    time.sleep(0.3)
    assert live.stop() == 0
    assert len(live.records) == 20
    assert without_capture(live.records) == without_capture(lab.read(mine))


def test_on_a_veth_pair_with_mtu_1500(lab: LiveLab) -> None:
    lab.run("ip", "address", "replace", "10.9.0.1/24", "dev", "left")
    inner = ["unshare", "--net", "sh", "-c", "echo $$; exec sleep 600"]
    peer = lab.start(*inner)
    peer.wait_for("\n", in_output=True)
    pid = peer.out.read_text().strip()
    lab.run("ip", "link", "set", "right", "netns", pid)
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    lab.run(*inside, "sh", "-c", "ip address add 10.9.0.2/24 dev right && ip link set right mtu 1500 up")
    mine = lab.folder / "veth.pcapng"
    live = lab.live("-i", "left", "--filter", "tcp", "--format", "jsonl", "-w", str(mine))
    with lab.tcpdump(lab.folder / "veth.tcpdump", "left"):
        proxy = f"socks5://10.9.0.1:{PROXY_PORT}"
        lab.run(*inside, "curl", "-sS", "-m", "10", "-x", proxy, f"http://127.0.0.1:{HTTP_PORT}/")
        time.sleep(0.3)
    assert live.stop() == 0
    (record,) = live.records
    assert record["client"]["address"] == "10.9.0.2"
    assert record["bytes"]["received"] > 300_000
    assert record["packets"] > 10
    assert without_capture([record]) == without_capture(lab.read(mine))
    assert_alike(without_capture([record]), without_capture(lab.read(lab.folder / "veth.tcpdump")))


def test_several_interfaces_and_any(lab: LiveLab) -> None:
    mine = lab.folder / "several.pcapng"
    live = lab.live("-i", "lo", "-i", "any", "--filter", f"tcp port {PROXY_PORT}", "--format", "jsonl", "-w", str(mine))
    lab.curl()
    time.sleep(0.3)
    assert live.stop() == 0
    frames = lab.run("tshark", "-r", str(mine), "-T", "fields", "-e", "frame.interface_name", "-e", "frame.protocols")
    counts = {name: frames.count(f"{name}\t") for name in ("lo", "any")}
    assert counts["lo"] == counts["any"] > 10
    assert frames.count("sll:") == counts["any"]


def test_lines_come_while_the_connection_lives_and_when_it_ended(lab: LiveLab) -> None:
    live = lab.live("--frames", "--no-process")
    connection = lab.start("sh", "-c", HOLDING_CURL)
    live.wait_for(" + 127.0.0.1:", in_output=True)
    assert " - " not in live.out.read_text()
    connection.stop(signal.SIGTERM)
    live.wait_for(" - 127.0.0.1:", in_output=True)  # two seconds later, though nothing more is captured
    assert live.stop() == 0
    text = live.out.read_text()
    assert f"> 127.0.0.1:{PROXY_PORT} connect 127.0.0.1:{HTTP_PORT}: succeeded (negotiation " in text
    assert "client: Greeting: no-authentication" in text
    assert "proxy: Reply: succeeded" in text
    assert "\x1b" not in text


def test_the_clients_process_is_named_however_soon_it_ends(lab: LiveLab) -> None:
    live = lab.live("--format", "jsonl")
    for _ in range(10):
        lab.curl()
    assert live.stop() == 0
    names = [record["process"] and record["process"]["name"] for record in live.records]
    # Some may be gone before the helper gets a processor, on a machine that is busy.
    assert {*names} <= {"curl", None}
    assert names.count("curl") >= 5, names


def test_the_clients_process_is_named_in_the_first_line(lab: LiveLab) -> None:
    live = lab.live()
    client = lab.start("sh", "-c", HOLDING_CURL)
    live.wait_for(" + 127.0.0.1:", in_output=True)
    client.stop(signal.SIGTERM)
    assert live.stop() == 0
    assert re.search(r" \+ 127\.0\.0\.1:\d+ curl\[\d+\] > ", live.out.read_text()), live.out.read_text()


def test_the_file_has_comments_counts_and_only_what_is_socks(lab: LiveLab) -> None:
    need("tshark")
    mine = lab.folder / "only.pcapng"
    live = lab.live("--only-socks", "-w", str(mine), "--format", "jsonl")
    lab.run("curl", "-sS", f"http://127.0.0.1:{HTTP_PORT}/")
    lab.curl()
    time.sleep(0.3)
    assert live.stop() == 0
    assert mine.stat().st_mode & 0o777 == 0o600
    fields = ["-T", "fields", "-e", "tcp.srcport", "-e", "tcp.dstport", "-e", "frame.comment"]
    rows = [row.split("\t") for row in lab.run("tshark", "-r", str(mine), *fields).splitlines()]
    assert all(str(PROXY_PORT) in row[:2] for row in rows)
    assert len(rows) == live.records[0]["packets"]
    comments = [row[2] for row in rows]
    assert re.fullmatch(
        rf"SOCKS5 \S+( curl\[\d+\])? > \S+:{PROXY_PORT} connect \S+:{HTTP_PORT}: succeeded", comments[0]
    )
    assert set(comments[1:]) == {""}
    (record,) = lab.read(mine)
    assert record["outcome"] == "succeeded"
    assert record["bytes"] == live.records[0]["bytes"]


def test_largest_frames_come_whole_and_once(lab: LiveLab) -> None:
    memory = "4096 8388608 16777216"
    settings = (
        f"echo {memory} >/proc/sys/net/ipv4/tcp_wmem && echo {memory} >/proc/sys/net/ipv4/tcp_rmem &&"
        " ip link set lo gso_max_size 262144 gro_max_size 262144 && echo done"
    )
    big_tcp = "done" in lab.run("sh", "-c", settings, status=None)  # Linux 5.19
    script = (
        "import socket, threading\n"
        "s = socket.create_server(('::1', 0), family=socket.AF_INET6)\n"
        "c = socket.create_connection(s.getsockname()[:2]); p, _ = s.accept()\n"
        "t = threading.Thread(target=c.sendall, args=(bytes(8 << 20),)); t.start()\n"
        "n = 0\n"
        "while n < 8 << 20: n += len(p.recv(8 << 20))\n"
    )
    mine = lab.folder / "big.pcapng"
    live = lab.live("-w", str(mine))
    lab.run(sys.executable, "-c", script)
    assert live.stop() == 0
    assert dropped(live.said) == 0
    import socks5sniff.capture

    captured = length = 0
    largest = 0
    for batch in socks5sniff.capture.open_captures([str(mine)]):
        captured += int(batch.captured.sum())
        length += int(batch.length.sum())
        largest = max(largest, int(batch.captured.max()))
    assert captured == length
    assert 8 << 20 < captured < 9 << 20  # each octet once
    assert largest > (200_000 if big_tcp else 65_000)


def test_vlan_tags_are_in_the_file(lab: LiveLab) -> None:
    import socks5sniff.capture

    lab.run("ip", "link", "add", "v1", "type", "veth", "peer", "name", "v2")
    lab.run("sh", "-c", "ip link set v1 up; ip link set v2 up")
    frame = bytes.fromhex("0200000000020200000000018100200708004500") + bytes(60)
    script = (
        "import socket\n"
        "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('v1', 0))\n"
        f"s.send(bytes.fromhex('{frame.hex()}'))\n"
    )
    mine = lab.folder / "vlan.pcapng"
    live = lab.live("-i", "v2", "-w", str(mine))
    lab.run(sys.executable, "-c", script)
    assert live.stop() == 0
    frames = [b.frame(row) for b in socks5sniff.capture.open_captures([str(mine)]) for row in range(len(b))]
    assert frame in frames


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_summary(lab: LiveLab, number: signal.Signals) -> None:
    mine = lab.folder / f"{number.name}.pcapng"
    live = lab.live("-w", str(mine))
    lab.curl()
    live.wait_for(" + ", in_output=True)
    assert live.stop(number) == 0
    assert re.search(rf"127\.0\.0\.1:{PROXY_PORT} +1 +succeeded 1 ", live.said)
    assert re.search(r"1 conversation in \d+ packets; lo: \d+ received, 0 dropped", live.said)
    assert re.search(rf"saved \d+ packets to {mine}", live.said)


def test_it_ends_by_itself(lab: LiveLab) -> None:
    ends = (("--count", "1"), ("--duration", "8"), ("--until-idle", "4"))
    counted, timed, idle = (lab.live(*options, wait=False) for options in ends)  # side by side: each start takes time
    for live in (counted, timed, idle):
        live.wait_for("capturing on")
    lab.curl()
    assert (timed.status(), idle.status(), counted.status()) == (0, 0, 0)
    assert all("1 conversation in" in live.said for live in (counted, idle, timed))


def test_a_table_redrawn(lab: LiveLab) -> None:
    live = lab.live("--view", "table", "--until-idle", "4")
    lab.curl()
    assert live.status() == 0
    assert "1 ended" in live.out.read_text()


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_without_the_right_the_message_comes_first_and_alone(lab: LiveLab, engine: str) -> None:
    if engine == "dumpcap":
        need("dumpcap")
    file = lab.folder / "refused.pcapng"
    command = [sys.executable, "-m", "socks5sniff", "live", "--engine", engine, "-w", str(file)]
    text = lab.run("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", *command, status=7)
    assert text.startswith("socks5sniff: lo: ")
    assert text.count("\n") == 1
    for way in ("-m socks5sniff live --iface lo", "usermod -aG wireshark", "| socks5sniff read -", "demo`"):
        assert way in text
    assert not file.exists()


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["-i", "nope0"], 3, "nope0: no such interface; `socks5sniff interfaces` lists them"),
        (["-i", "v3"], 3, "v3: the interface is down"),
        (["--filter", "tcp prt 1"], 2, "expression: syntax error at character 5, near 'prt'"),
        (["--engine", "scapy", "--filter", "tcp prt 1"], 2, "expression: syntax error at character 5, near 'prt'"),
        (["--engine", "dumpcap", "--filter", "tcp prt 1"], 2, "expression: syntax error at character 5, near 'prt'"),
        (["-w", "/no/where.pcapng"], 5, "/no/where.pcapng: No such file or directory"),
        (["--frames", "--format", "zeek"], 2, "--frames goes with"),
        (["--keep", "3"], 2, "go with --rotate-size or --rotate-seconds"),
        (["--rotate-size", "big", "-w", "x"], 2, "is not a size"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_line(lab: LiveLab, options: list[str], status: int, message: str) -> None:
    if "dumpcap" in options:
        need("dumpcap")
    lab.run("sh", "-c", "ip link show v3 || ip link add v3 type veth peer name v4")
    text = lab.run(sys.executable, "-m", "socks5sniff", "live", *options, status=status)
    assert message in text
    assert text.count("\n") == 1


def test_root_is_given_up_once_the_capture_is_open(lab: LiveLab) -> None:
    live = lab.live()
    status = Path(f"/proc/{live.pid}/status").read_text()
    uids = re.search(r"^Uid:\s+(.*)$", status, re.MULTILINE)
    capabilities = re.search(r"^CapPrm:\s+(.*)$", status, re.MULTILINE)
    assert uids is not None
    assert "0" not in uids[1].split()
    assert capabilities is not None
    assert int(capabilities[1], 16) == 0
    assert "as nobody from here on" in live.said
    assert live.stop() == 0


def test_a_rotation_where_nobody_may_not_write_keeps_root_and_says_so(lab: LiveLab) -> None:
    file = str(lab.folder / "rotated.pcapng")
    live = lab.live("-w", file, "--rotate-seconds", "0.5", "--keep", "2", "--duration", "2")
    assert live.status() == 0
    assert "still as root: nobody may not write" in live.said
    assert len(list(lab.folder.glob("rotated_*.pcapng"))) == 2


def test_a_second_interrupt_leaves_at_once(lab: LiveLab) -> None:
    live = lab.live()
    os.kill(live.pid, signal.SIGSTOP)
    os.kill(live.pid, signal.SIGINT)
    os.kill(live.pid, signal.SIGTERM)
    os.kill(live.pid, signal.SIGCONT)
    assert live.status() == 130
