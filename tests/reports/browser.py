"""A page in headless Chromium, spoken to through its own protocol over pipes: nothing to install but the browser."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PATH = next((path for name in NAMES if (path := shutil.which(name))), None)
MISSING = f"no browser: none of {', '.join(NAMES)} is installed"


class Browser:
    """One browser with one tab.

    >>> with Browser(tmp_path) as browser:  # doctest: +SKIP
    ...     browser.open(page, width=375, dark=True)
    ...     browser("document.title")
    """

    def __init__(self, profile: Path) -> None:
        self.profile, self.number, self.session = profile, 0, None
        self.errors: list[str] = []
        self.requested: list[str] = []

    def __enter__(self) -> "Browser":
        there, self.out = os.pipe()
        self.back, here = os.pipe()

        def pipes() -> None:  # the protocol speaks on descriptors 3 and 4
            a, b = os.dup(there), os.dup(here)
            os.dup2(a, 3)
            os.dup2(b, 4)

        words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
        words += ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={self.profile}", "--no-first-run"]
        self.process = subprocess.Popen(
            [PATH, *words, "about:blank"], close_fds=False, preexec_fn=pipes,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(there)
        os.close(here)
        self.rest = b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self.session = None
        with contextlib.suppress(OSError, AssertionError):
            self.call("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.back)

    def message(self) -> dict:
        while b"\0" not in self.rest:
            more = os.read(self.back, 1 << 16)
            assert more, "the browser has ended"
            self.rest += more
        text, _, self.rest = self.rest.partition(b"\0")
        found = json.loads(text)
        if found.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(found["params"])[:500])
        if found.get("method") == "Network.requestWillBeSent":
            self.requested.append(found["params"]["request"]["url"])
        return found

    def call(self, method: str, **params: object) -> dict:
        self.number += 1
        told = {"id": self.number, "method": method, "params": params}
        if self.session:
            told["sessionId"] = self.session
        os.write(self.out, json.dumps(told).encode() + b"\0")
        while True:
            found = self.message()
            if found.get("id") == self.number:
                assert "error" not in found, found
                return found["result"]

    def open(self, page: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """Load a page at a width; `errors` and `requested` are of this page from here on."""
        self.errors, self.requested = [], []
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.as_uri())
        while self.message().get("method") != "Page.loadEventFired":
            pass

    def __call__(self, script: str) -> object:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def picture(self, path: Path) -> Path:
        """A picture of the whole page, down to its end."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 6000), "scale": 1}
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))
        return path
