"""A headless Chromium, driven over its DevTools protocol through a pair of pipes.

Everything that a page does and should not is noted: requests, console messages, dialogs, exceptions, violations of its
Content-Security-Policy.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--disable-extensions", "--mute-audio", "--force-device-scale-factor=1", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 30.0


def program() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One Chromium with a profile of its own; a context manager.

    Args:
        within: words of a command that starts it, elsewhere than here.
    """

    def __init__(self, within: Sequence[str] = ()) -> None:
        self._within = list(within)

    def __enter__(self) -> Browser:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()

        def as_three_and_four() -> None:  # what --remote-debugging-pipe reads from and writes to
            spare = os.dup(theirs_out)
            os.dup2(theirs_in, 3)
            os.dup2(spare, 4)

        command = [
            *self._within,
            program() or "chromium",
            *SWITCHES,
            f"--user-data-dir={self._profile.name}",
            "about:blank",
        ]
        self._process = subprocess.Popen(
            command, preexec_fn=as_three_and_four, close_fds=False, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = ours_in, ours_out
        self._buffer = bytearray()
        self._number = 0
        self._tabs: dict[str, Tab] = {}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call("Browser.close")
        except (OSError, TimeoutError, EOFError):
            self._process.kill()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def tab(self, scripts: bool = True) -> Tab:
        """A new page in a context of its own (no cookies of others); `scripts` off is a browser without JavaScript."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = self._tabs[session] = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            tab.call(f"{domain}.enable")
        if not scripts:
            tab.call("Emulation.setScriptExecutionDisabled", value=True)
        return tab

    def call(self, method: str, session: str | None = None, patience: float = PATIENCE, **params: Any) -> Any:
        """One command and its result."""
        self._number += 1
        number = self._number
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        deadline = time.monotonic() + patience
        while True:
            answer = self._message(deadline)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def listen(self, seconds: float) -> None:
        """Take in events for a while."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._message(deadline)
            except TimeoutError:
                return

    def _message(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                raise TimeoutError("Chromium does not answer")
            data = os.read(self._in, 1 << 16)
            if not data:
                raise EOFError("Chromium has ended")
            self._buffer += data
        raw, _, rest = bytes(self._buffer).partition(b"\0")
        self._buffer = bytearray(rest)
        message: dict[str, Any] = json.loads(raw)
        if "method" in message and message.get("sessionId") in self._tabs:
            self._tabs[message["sessionId"]].note(message["method"], message["params"])
        return message


class Tab:
    """One page.

    Attributes:
        complaints: console messages, exceptions, dialogs and log entries (CSP violations among them).
        requests: URLs that were asked for.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._loads = 0

    def note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console: {[each.get('value') for each in params['args']]}")
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(f"exception: {details.get('exception', {}).get('description', details['text'])}")
        elif method == "Log.entryAdded":
            self.complaints.append(f"log: {params['entry']['text']}")
        elif method == "Page.javascriptDialogOpening":
            self.complaints.append(f"dialog: {params['message']}")
        elif method == "Page.loadEventFired":
            self._loads += 1

    def call(self, method: str, patience: float = PATIENCE, **params: Any) -> Any:
        return self._browser.call(method, self._session, patience, **params)

    def open(self, url: str | Path) -> None:
        """Go there and wait until it is loaded."""
        loads = self._loads
        self.call("Page.navigate", url=url.as_uri() if isinstance(url, Path) else url)
        deadline = time.monotonic() + PATIENCE
        while self._loads == loads:
            assert time.monotonic() < deadline, f"{url} does not load"
            self._browser.listen(0.02)

    def evaluate(self, expression: str, patience: float = PATIENCE) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        answer = self.call(
            "Runtime.evaluate", patience, expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise AssertionError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = PATIENCE) -> Any:
        """The expression's first value that is true."""
        deadline = time.monotonic() + seconds
        while True:
            value = self.evaluate(expression)
            if value:
                return value
            assert time.monotonic() < deadline, f"never true: {expression}; complaints: {self.complaints}"
            self._browser.listen(0.03)

    def ready(self) -> None:
        """Wait until the page of a report has drawn itself."""
        self.wait("document.documentElement?.dataset.ready === 'yes'")

    def size(self, width: int, height: int) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def dark(self, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def key(self, key: str) -> None:
        codes = {"Enter": 13, "Escape": 27, "ArrowDown": 40, "ArrowUp": 38, "End": 35, "Home": 36, "Tab": 9}
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        code = codes.get(key, ord(key.upper()) if len(key) == 1 else 0)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, text=text, windowsVirtualKeyCode=code)

    def drag(self, selector: str, begin: float, end: float) -> None:
        """Drag with the mouse over an element, from one share of its width to another.

        By events of the page's own: those of the protocol never moved (`movementX` is 0), which charts look at.
        """
        self.evaluate(
            f"""(async () => {{
            const node = document.querySelector({json.dumps(selector)});
            const box = node.getBoundingClientRect();
            const tell = (kind, share, buttons) => node.dispatchEvent(new MouseEvent(kind, {{ bubbles: true, buttons,
              clientX: box.left + box.width * share, clientY: box.top + box.height / 2, movementX: 9, movementY: 1 }}));
            tell("mouseenter", {begin}, 0);
            tell("mousemove", {begin}, 0);
            tell("mousedown", {begin}, 1);
            for (const share of [0.5, 0.75, 1]) {{
              tell("mousemove", {begin} + ({end} - {begin}) * share, 1);
              await new Promise(requestAnimationFrame);
            }}
            tell("mouseup", {end}, 0);
            }})()"""
        )

    def search(self, text: str) -> None:
        """Type into the search box."""
        self.evaluate(
            "(() => { const box = document.getElementById('search');"
            f"box.value = {json.dumps(text)}; box.dispatchEvent(new Event('input')); }})()"
        )

    def screenshot(self, path: Path, whole: bool = False) -> None:
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
