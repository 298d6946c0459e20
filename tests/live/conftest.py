"""The lab of these tests: a namespace with microsocks and a web server on its loopback interface."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.live_lab import HTTP_PORT, PROXY_PORT, LiveLab, need


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLab]:
    need("unshare", "nsenter", "ip", "ss", "setpriv", "curl", "microsocks")
    folder = tmp_path_factory.mktemp("live")
    for parent in (folder, *folder.parents):
        if parent.owner() == "root" and str(parent).startswith("/tmp/"):
            parent.chmod(parent.stat().st_mode | 0o011)  # `nobody` must get through to what it may write
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
