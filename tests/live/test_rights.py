"""What someone is told who may not capture, on each system, and who runs the program once the capture is open."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from socks5sniff.errors import InputError, MissingError, RightsError
from socks5sniff.live.dumpcap import command, problem
from socks5sniff.live.engine import Settings
from socks5sniff.live.pcap import failure, missing, unusable
from socks5sniff.live.privileges import User, lesser_user
from socks5sniff.live.rights import program, refusal

PERMISSION, NO_DEVICE, NOT_UP = -8, -5, -9


def test_linux_offers_five_ways_in_order() -> None:
    message = refusal("lo", "no permission to capture (CAP_NET_RAW)", "linux")
    ways = (
        "lo: no permission",
        f"`sudo {program()} live --iface lo`",
        "`sudo usermod -aG wireshark $USER`",
        "`sudo tcpdump -i lo -s 0 -U -w - 'tcp port 1080' | socks5sniff read -`",
        "`--cap-add NET_RAW`",
        "`socks5sniff demo`",
        "Reading a capture file needs no rights.",
    )
    places = [message.index(way) for way in ways]
    assert places == sorted(places)
    assert "\n" not in message
    assert "setcap" not in message


def test_sudo_is_given_an_absolute_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A virtual environment's folder is not among those that sudo looks in."""
    script = tmp_path / "a folder" / "socks5sniff"
    script.parent.mkdir()
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(script)])
    assert program() == f"'{script}'"
    monkeypatch.chdir(script.parent)
    monkeypatch.setattr("sys.argv", ["socks5sniff"])
    assert program() == f"'{script}'"
    monkeypatch.setattr("sys.argv", ["-c"])
    assert program() == f"{sys.executable} -m socks5sniff"


def test_macos_names_the_device_and_chmodbpf() -> None:
    fault = failure("lo0", PERMISSION, "(cannot open BPF device) /dev/bpf0: Permission denied", "darwin")
    assert isinstance(fault, RightsError)
    for words in ("/dev/bpf0", "ChmodBPF", "access_bpf", "Reading a capture file needs no rights."):
        assert words in str(fault)
    assert "777" not in str(fault)


@pytest.mark.parametrize("platform", ["freebsd14", "openbsd7", "netbsd10"])
def test_bsd_names_the_device(platform: str) -> None:
    fault = failure("lo0", PERMISSION, "(no devices found) /dev/bpf0: Permission denied", platform)
    assert isinstance(fault, RightsError)
    assert "/dev/bpf0" in str(fault)


def test_windows_with_npcap_for_administrators_only_says_so() -> None:
    message = "Error opening adapter: Access is denied. (5)"
    fault = failure(r"\Device\NPF_Loopback", -1, message, "win32")
    assert isinstance(fault, RightsError)
    assert "Administrator terminal" in str(fault)


def test_windows_with_npcap_but_without_its_loopback_adapter_says_so() -> None:
    fault = failure(r"\Device\NPF_Loopback", NO_DEVICE, "", "win32")
    assert isinstance(fault, MissingError)
    assert "Support loopback traffic" in str(fault)


def test_windows_without_npcap_says_where_to_get_it() -> None:
    assert "https://npcap.com" in str(missing("win32"))
    assert "libpcap" in str(missing("linux"))


def test_winpcap_must_go() -> None:
    fault = unusable("WinPcap version 4.1.3 (packet.dll version 4.1.0.2980), based on libpcap version 1.0")
    assert fault is not None
    assert "uninstall" in str(fault)
    assert unusable("Npcap version 1.79, based on libpcap version 1.10.4") is None
    assert unusable("libpcap version 1.10.3 (with TPACKET_V3)") is None


def test_a_wrong_or_sleeping_interface_is_no_matter_of_rights() -> None:
    assert "no such interface" in str(failure("en9", NO_DEVICE, "en9: No such device exists", "darwin"))
    assert "is down" in str(failure("en0", NOT_UP, "", "darwin"))
    assert "cannot be captured: odd" in str(failure("en0", -1, "odd", "freebsd14"))


def test_what_dumpcap_says_becomes_the_right_error() -> None:
    denied = (
        "Capturing on 'Loopback: lo'\n"
        'dumpcap: You do not have permission to capture on device "lo".\n(socket: Operation not permitted)\n'
    )
    fault = problem(denied, Settings(("lo",)))
    assert isinstance(fault, RightsError)
    assert "usermod -aG wireshark" in str(fault)
    wrong = (
        "Capturing on 'Loopback: lo'\ndumpcap: Invalid capture filter \"tcp prt\" for interface 'lo'.\n\n"
        "That string isn't a valid capture filter (can't parse filter expression: syntax error).\n"
        "See the User's Guide for a description of the capture filter syntax.\n"
    )
    fault = problem(wrong, Settings(("lo",), "tcp prt"))
    assert isinstance(fault, InputError)
    assert str(fault).startswith("filter 'tcp prt': can't parse filter expression: syntax error")
    absent = "Capturing on 'nope'\ndumpcap: There is no device named \"nope\".\n(No such device exists)\n"
    assert str(problem(absent, Settings(("nope",)))) == 'nope: There is no device named "nope".'
    assert str(problem("", Settings(("lo",)))) == "lo: dumpcap ended"


def test_dumpcap_is_asked_for_every_interface_with_its_own_options() -> None:
    settings = Settings(("lo", "eth0"), "tcp", 96, False, 32 << 20)
    per_interface = ["-s", "96", "-B", "32", "-p", "-f", "tcp"]
    expected = ["dumpcap", "-q", "-i", "lo", *per_interface, "-i", "eth0", *per_interface, "-w", "-"]
    assert command("dumpcap", settings) == expected
    assert "-p" not in command("dumpcap", Settings(("lo",), promiscuous=True))
    arguments = command("dumpcap", Settings(("lo",)))
    assert 16 <= int(arguments[arguments.index("-B") + 1]) <= 512  # by the memory of this machine


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users are POSIX only")
class TestTheLesserUser:
    def test_is_who_called_sudo(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import pwd

        someone = next(entry for entry in pwd.getpwall() if entry.pw_uid)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setenv("SUDO_UID", str(someone.pw_uid))
        assert lesser_user() == User(someone.pw_name, someone.pw_uid, someone.pw_gid)

    def test_is_nobody_when_root_came_by_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.delenv("SUDO_UID", raising=False)
        user = lesser_user()
        assert user is not None
        assert user.name == "nobody"

    def test_is_no_one_for_those_who_are_not_root(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert lesser_user() is None

    def test_is_no_one_when_sudos_user_does_not_exist(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        monkeypatch.setenv("SUDO_UID", "4000000000")
        assert lesser_user() is None
