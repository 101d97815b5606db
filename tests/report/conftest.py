"""A headless Chromium driven through a pipe, and small cohorts to report on."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.geometry import Grid
from volseg.io import write_volume
from volseg.labels import Labels
from volseg.report import Drawing, Sources, gather, write_report

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 60.0


class Browser:
    """Chromium's own protocol: JSON with a zero byte after it, down one pipe and up another."""

    def __init__(self, program: str, home: Path) -> None:
        (down, self._down), (self._up, up) = os.pipe(), os.pipe()
        # out of the way of 3 and 4, where the browser expects its ends
        down, up = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (down, up))
        words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--hide-scrollbars"]
        words += ["--force-color-profile=srgb", "--disable-dev-shm-usage", f"--user-data-dir={home}", "about:blank"]
        nowhere = os.open(os.devnull, os.O_RDWR)
        ends = [(down, 3), (up, 4), (nowhere, 0), (nowhere, 1), (nowhere, 2)]
        actions = [(os.POSIX_SPAWN_DUP2, here, there) for here, there in ends]
        environment = {**os.environ, "HOME": str(home)}
        self.pid = os.posix_spawn(program, [program, *words], environment, file_actions=actions, setpgroup=0)
        for end in (down, up, nowhere):
            os.close(end)
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The answer to a command; what happens meanwhile is kept in ``events``."""
        self._number += 1
        told: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session is not None:
            told["sessionId"] = session
        os.write(self._down, json.dumps(told).encode() + b"\0")
        until = time.monotonic() + _SECONDS
        while True:
            answer = self.next(until)
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])
            self.events.append(answer)

    def next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            left = until - time.monotonic()
            ready, _, _ = select.select([self._up], [], [], max(0.0, left))
            piece = os.read(self._up, 1 << 20) if ready else b""
            assert piece, "the browser does not answer"
            self._rest += piece
        told, self._rest = self._rest.split(b"\0", 1)
        return dict(json.loads(told))

    def close(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._down)
        os.close(self._up)


class Page:
    """One tab: what it shows, what it says on its console, what it asks the network for."""

    def __init__(self, browser: Browser, width: int, height: int, scheme: str, *, script: bool) -> None:
        self._browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        phone = width < 600
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self._call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._call("Emulation.setScriptExecutionDisabled", value=not script)

    def open(self, url: str) -> Page:
        """Load an address, and wait until it is there."""
        self._browser.events.clear()
        self._call("Page.navigate", url=url)
        until = time.monotonic() + _SECONDS
        while not any(event["method"] == "Page.loadEventFired" for event in self._mine()):
            self._browser.events.append(self._browser.next(until))
        return self

    def value(self, expression: str) -> Any:
        """The value of an expression of JavaScript, awaited."""
        found = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        until = time.monotonic() + _SECONDS
        while not self.value(condition):
            assert time.monotonic() < until, f"never came true: {condition}"
            time.sleep(0.05)

    def key(self, key: str) -> None:
        """Press a key."""
        text = {"text": key} if len(key) == 1 else {}
        self._call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def picture(self, *, whole: bool = False) -> bytes:
        """The page as PNG."""
        return base64.b64decode(self._call("Page.captureScreenshot", captureBeyondViewport=whole)["data"])

    @property
    def complaints(self) -> list[str]:
        """Errors and warnings: of scripts, of the console, of the browser itself."""
        self.value("1")  # what was said before is heard by then
        kinds = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")
        return [json.dumps(event["params"]) for event in self._mine() if event["method"] in kinds]

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for, beside pictures that the page itself holds."""
        sent = [event["params"] for event in self._mine() if event["method"] == "Network.requestWillBeSent"]
        return [url for params in sent if not (url := str(params["request"]["url"])).startswith("data:")]

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def _mine(self) -> list[dict[str, Any]]:
        return [event for event in self._browser.events if event.get("sessionId") == self._session]

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium, where it is installed."""
    program = next(filter(None, map(shutil.which, _NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(_NAMES)} is installed")
    found = Browser(program, tmp_path_factory.mktemp("browser"))
    yield found
    found.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Any]:
    """Open a file: ``page(path)``, on a desktop unless told otherwise."""
    opened: list[Page] = []

    def open_(path: Path, width: int = 1280, height: int = 900, scheme: str = "light", *, script: bool = True) -> Page:
        opened.append(Page(browser, width, height, scheme, script=script))
        return opened[-1].open(path.resolve().as_uri())

    yield open_
    for tab in opened:
        tab.close()


GRID = Grid(
    (24, 20, 8), np.array([[-1.0, 0, 0, 12], [0, -1.0, 0, 10], [0, 0, 4.0, -16], [0, 0, 0, 1]])
)  # LPS, slices far apart
NAMES = ("p1", "p2", "<b onclick=alert(1)>p3")
LABELS = Labels.of({"muscle": 1, "<i>cavity": 4}, regions={"all & more": ["muscle", "<i>cavity"]})


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients with truths in ``g``, and masks in ``p`` that are off by a row more in each; a summary beside."""
    folder = tmp_path_factory.mktemp("cohort")
    random = np.random.default_rng(0)
    entries = []
    for off, name in enumerate(NAMES):
        truth = np.zeros(GRID.shape, np.uint8)
        truth[5:17, 4:14, 2:6], truth[8:13, 7:11, 2:6] = 1, 4
        image = (truth * 40 + 100 + random.normal(0, 6, GRID.shape)).astype(np.int16)
        for place, array in (("i", image), ("g", truth), ("p", np.roll(truth, off, axis=1))):
            (folder / place).mkdir(exist_ok=True)
            write_volume(folder / place / f"{name}.nii.gz", array, GRID)
        hints = [f"muscle is in {off} <parts>"] if off else []
        entries.append({"case": name, "mask": f"{name}.nii.gz", "verdict": "done", "notes": [], "hints": hints})
    entries.append({"case": "p9", "mask": None, "verdict": "failed", "error": "p9.nii.gz: damaged <here>"})
    told = {"labels": LABELS.to_dict(), "identity": {"bundle": "net & co"}, "cases": entries}
    (folder / "p" / "summary.json").write_text(json.dumps(told))
    return folder


@pytest.fixture(scope="session")
def make() -> Callable[..., Path]:
    """Write a report: ``make(output, images, predictions, truths, …)`` gives the index."""

    def make_(output: Path, images: Path, predictions: Path, truths: Path | None = None, **more: Any) -> Path:
        told = {key: more.pop(key) for key in ("title", "date", "processes") if key in more}
        gathered = gather(Sources(images, predictions, truths, **more))
        return write_report(gathered, output, Drawing(gathered.labels, {}, (images, predictions)), **told).index

    return make_


@pytest.fixture(scope="session")
def report(cohort: Path, make: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the cohort, with truths: its index."""
    return make(tmp_path_factory.mktemp("report") / "r", cohort / "i", cohort / "p", cohort / "g")
