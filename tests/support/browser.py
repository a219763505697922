# Copyright: (c) 2026, baileys.resilience contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian's Chromium without a window, driven over its own protocol on two pipes: no driver, no port, no download."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 30.0
_END = b"\0"
_ARGUMENTS = (
    "--headless=new", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--hide-scrollbars", "--mute-audio", "--force-device-scale-factor=1",
    # Root needs the first; the second makes every name but this host's own lead nowhere.
    "--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


class BrowserFailed(AssertionError):
    """It answered with an error, or not in time."""


class Browser:
    """One page. What it asked for, and what its console said, is kept."""

    def __init__(self, process: subprocess.Popen[bytes], to_it: int, from_it: int) -> None:
        self._process, self._to_it, self._from_it = process, to_it, from_it
        self._numbers = itertools.count(1)
        self._buffer = b""
        self.requests: list[str] = []
        self.complaints: list[str] = []
        target = self._call("Target.createTarget", {"url": "about:blank"}, session="")["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True}, session="")
        self._session: str = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._call(method, parameters, self._session)

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserFailed(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """Until it is true; an error in it is not yet."""
        limit = time.monotonic() + PATIENCE_SECONDS
        while not (found := self.evaluate(f"(() => {{ try {{ return {expression} }} catch {{ return null }} }})()")):
            if time.monotonic() > limit:
                shown = self.evaluate("document.body && document.body.innerText")
                raise BrowserFailed(f"waited in vain for {expression}. Complaints: {self.complaints}. Shown:\n{shown}")
            self._take(0.05)
        return found

    def press(self, key: str, *, shift: bool = False) -> None:
        """A key, by its name (Tab, ArrowRight, Enter)."""
        codes = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39, " ": 32}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        common = {"key": key, "windowsVirtualKeyCode": codes[key], "modifiers": 8 if shift else 0}
        self.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def point(self, selector: str) -> None:
        """The mouse at the middle of an element, which is scrolled to."""
        place = f"document.querySelector({selector!r})"
        self.evaluate(f"{place}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        x, y = self.evaluate(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({place}.getBoundingClientRect())"
        )
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)

    def prefer(self, **features: str) -> None:
        """Media features, such as ``prefers_color_scheme="dark"``."""
        given = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", features=given)

    def photograph(self, path: Path) -> None:
        """The whole page, as PNG."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _call(self, method: str, parameters: dict[str, Any], session: str) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._to_it, json.dumps(message).encode() + _END)
        limit = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < limit:
            for each in self._take(0.5):
                if each.get("id") == number:
                    if "error" in each:
                        raise BrowserFailed(f"{method}: {each['error']}")
                    result: dict[str, Any] = each["result"]
                    return result
        raise BrowserFailed(f"{method}: no answer. The browser {'runs' if self._process.poll() is None else 'is gone'}")

    def _take(self, seconds: float) -> list[dict[str, Any]]:
        """What has come, waiting so long for the first of it."""
        if _END not in self._buffer and select.select([self._from_it], [], [], seconds)[0]:
            read = os.read(self._from_it, 1 << 20)
            if not read:
                raise BrowserFailed("the browser is gone")
            self._buffer += read
        *whole, self._buffer = self._buffer.split(_END)
        found: list[dict[str, Any]] = [json.loads(each) for each in whole]
        for each in found:
            self._keep(each.get("method", ""), each.get("params", {}))
        return found

    def _keep(self, event: str, content: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.requests.append(content["request"]["url"])
        elif event == "Log.entryAdded":
            self.complaints.append(f"{content['entry']['text']} {content['entry'].get('url', '')}".strip())
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(str(content["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(content["args"]))


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A new one, with a profile in ``folder``."""
    their_read, our_write = os.pipe()
    our_read, their_write = os.pipe()
    # They are its 3 and 4, whatever numbers they have here.
    wiring = 'exec 3<&"$0" 4>&"$1"; shift; exec chromium "$@"'
    command = ["bash", "-c", wiring, str(their_read), str(their_write), *_ARGUMENTS, f"--user-data-dir={folder}"]
    with open(folder.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen(
            [*command, "about:blank"],
            pass_fds=(their_read, their_write), stdout=log, stderr=log, env={**os.environ, "HOME": str(folder.parent)},
        )  # fmt: skip
    os.close(their_read)
    os.close(their_write)
    try:
        yield Browser(process, our_write, our_read)
    finally:
        os.close(our_write)  # it ends with its pipe, and all its processes with it
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(our_read)
