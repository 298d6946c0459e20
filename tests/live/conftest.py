"""The lab of these tests: a namespace with microsocks and a web server on its loopback interface."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .lab import HTTP_PORT, PROXY_PORT, LiveLab, need


@pytest.fixture(scope="module")
def lab() -> Iterator[LiveLab]:
    need("unshare", "nsenter", "ip", "ss", "setpriv", "curl", "microsocks")
    folder = Path(tempfile.mkdtemp(prefix="socks5sniff-live-"))  # pytest closes its own folders to `nobody`
    folder.chmod(0o755)
    lab = LiveLab(folder)
    try:
        lab.start("microsocks", "-i", "0.0.0.0", "-p", str(PROXY_PORT))
        web = folder / "web"
        web.mkdir()
        (web / "index.html").write_bytes(bytes(3000))
        lab.start(sys.executable, "-m", "http.server", str(HTTP_PORT), "--bind", "127.0.0.1", "--directory", str(web))
        for port in (PROXY_PORT, HTTP_PORT):
            lab.wait_for_port(port)
        yield lab
    finally:
        lab.close()
        shutil.rmtree(folder)
