"""The lab, the targets in it, and the proxies under observation, each started when the first test asks for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from . import targets
from .lab import ECHO_PORT, HTTP_PORT, PROXY, TARGET, TARGET_IPV6, Lab, missing, where

USERNAME = "alice"
PASSWORD = "opensesame"


class Server(NamedTuple):
    """A proxy in the lab."""

    port: int
    address: str = PROXY

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


def need(*programs: str) -> None:
    """Skip unless these programs are installed."""
    reason = missing(*programs)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if not sys.platform.startswith("linux"):
        pytest.skip("network namespaces are Linux only")
    need("unshare", "nsenter", "setpriv", "ip", "ss", "tcpdump", "tshark", "bash")
    if os.geteuid() != 0:
        pytest.skip("a network namespace with proxies in it needs root")
    folder = tmp_path_factory.mktemp("lab")
    folder.chmod(0o755)
    try:
        lab = Lab(folder)
    except PermissionError as problem:
        pytest.skip(str(problem))
    yield lab
    lab.close()


@pytest.fixture(scope="session")
def web(lab: Lab) -> Lab:
    """The lab, with the HTTP and echo servers running."""
    addresses = ("127.0.0.1", TARGET, TARGET_IPV6)
    lab.start(
        sys.executable, str(Path(targets.__file__)), str(HTTP_PORT), str(ECHO_PORT), *addresses, log="targets.log"
    )
    lab.wait_for_port(ECHO_PORT)
    return lab


@pytest.fixture(scope="session")
def microsocks(web: Lab) -> Server:
    """microsocks that wants no authentication."""
    need("microsocks")
    web.start("microsocks", "-i", PROXY, "-p", "1080", log="microsocks.log")
    web.wait_for_port(1080)
    return Server(1080)


@pytest.fixture(scope="session")
def microsocks_login(web: Lab) -> Server:
    """microsocks that wants a user name and a password."""
    need("microsocks")
    web.start("microsocks", "-i", PROXY, "-p", "1081", "-u", USERNAME, "-P", PASSWORD, log="microsocks-login.log")
    web.wait_for_port(1081)
    return Server(1081)


_DANTED = """
logoutput: stderr
internal: {proxy} port = {port}
external: {proxy}
clientmethod: none
socksmethod: none
user.privileged: {user}
user.unprivileged: {user}
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks block {{ from: 0.0.0.0/0 to: 0.0.0.0/0 port = 25 command: connect }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 command: connect bind udpassociate }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 command: bindreply udpreply }}
"""


@pytest.fixture(scope="session")
def danted(web: Lab) -> Server:
    """Dante: SOCKS5 and SOCKS4, with BIND and UDP ASSOCIATE; it blocks port 25."""
    need("danted")
    config = web.folder / "danted.conf"
    config.write_text(_DANTED.format(proxy=PROXY, port=1082, user="root"))
    web.start(where("danted"), "-f", str(config), "-p", str(web.folder / "danted.pid"), log="danted.log")
    web.wait_for_port(1082)
    return Server(1082)


@pytest.fixture(scope="session")
def ssh_dynamic(web: Lab) -> Server:
    """OpenSSH's `ssh -D` through an sshd on the same loopback: SOCKS5 and SOCKS4."""
    need("sshd", "ssh", "ssh-keygen")
    keys = web.folder / "ssh"
    keys.mkdir(mode=0o700)
    for name in ("host", "user"):
        web.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name))
    server = {
        "ListenAddress": "127.0.0.1",
        "Port": "2222",
        "HostKey": str(keys / "host"),
        "AuthorizedKeysFile": str(keys / "user.pub"),
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
        "PidFile": "none",
    }
    options = [argument for key, value in server.items() for argument in ("-o", f"{key}={value}")]
    web.start(where("sshd"), "-D", "-e", "-f", "/dev/null", *options, log="sshd.log")
    web.wait_for_port(2222)
    client = {
        "IdentityFile": str(keys / "user"),
        "UserKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "no",
        "BatchMode": "yes",
        "ExitOnForwardFailure": "yes",
    }
    options = [argument for key, value in client.items() for argument in ("-o", f"{key}={value}")]
    dynamic = f"{PROXY}:1083"
    web.start("ssh", "-F", "none", "-N", "-D", dynamic, "-p", "2222", *options, "root@127.0.0.1", log="ssh.log")
    web.wait_for_port(1083)
    return Server(1083)


@pytest.fixture(scope="session")
def tor(web: Lab) -> Server:
    """Tor that can reach nobody: there is only loopback here, so every circuit fails after a second or two."""
    need("tor")
    settings = {
        "SocksPort": f"{PROXY}:9050 ExtendedErrors",
        "SocksTimeout": "2",
        "DataDirectory": str(web.folder / "tor"),
        "Log": "notice stdout",
        "UseEntryGuards": "0",
        "SafeLogging": "0",
    }
    config = web.folder / "torrc"
    config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    web.start("tor", "-f", str(config), "--defaults-torrc", "/dev/null", log="tor.log")
    web.wait_for_port(9050)
    return Server(9050)
