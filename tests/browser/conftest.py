"""A real Chromium before a real `spacetime edit`. Skipped, saying so, where there is no Chromium or no Playwright."""

import base64
import json
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

SLOW = 120_000  # milliseconds; software rendering on a busy machine
SHOTS = os.environ.get("SPACETIME_SCREENSHOTS")  # a folder that gets a picture of every step

DROP = """data => {
    const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
    const transfer = new DataTransfer();
    transfer.items.add(new File([bytes], "clip.mp4", { type: "video/mp4" }));
    const canvas = document.querySelector("#graph-canvas");
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const options = { dataTransfer: transfer, bubbles: true, cancelable: true, clientX: 700, clientY: 700 };
        canvas.dispatchEvent(new DragEvent(kind, options));
    }
}"""


@pytest.fixture(scope="module")  # while it lives, its event loop runs here, and no other test could have one
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no Chromium: apt install chromium, or name one in CHROMIUM")
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def start_editor(base: Path, *options: str) -> tuple[subprocess.Popen, str]:
    """`spacetime edit`: its process and its address."""
    command = [sys.executable, "-m", "spacetime_nodes.host.cli", "edit", "--no-browser", "--port", "0"]
    command += ["--base", str(base), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, next(word for word in process.stdout.readline().split() if word.startswith("http://"))


class Session:
    """One editor in one window, and everything that passes between them."""

    def __init__(self, chromium, base: Path, *options: str, start=start_editor):
        self.base = base
        self.process, self.url = start(base, *options)
        self.events, self.previews, self.foreign, self.errors = [], [], [], []
        self.greeted = False
        self.context = chromium.new_context(viewport={"width": 1400, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(SLOW)
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._hear))
        self.page.on("request", lambda request: self._see(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _hear(self, frame):
        if isinstance(frame, str):
            message = json.loads(frame)
            self.events.append((message["type"], message["data"]))
        elif struct.unpack(">I", frame[:4])[0] in (1, 4):
            self.previews.append(frame)

    def _see(self, url):
        if not url.startswith((self.url, self.url.replace("http", "ws"), "data:", "blob:")):
            self.foreign.append(url)

    def open(self, page=None):
        page = page or self.page
        page.goto(self.url)
        page.wait_for_function("() => window.app?.graph && document.querySelector('[data-testid=queue-button]')")

    def another_window(self):
        """A browser that was never here: what it shows can only come from the server."""
        page = self.context.browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        page.set_default_timeout(SLOW)
        self.open(page)
        return page

    def shot(self, name: str, page=None):
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            (page or self.page).screenshot(path=str(Path(SHOTS, f"{name}.png")))

    def run(self):
        """Press Run; the id of the job."""
        with self.page.expect_response(lambda answer: answer.url.endswith("/api/prompt")) as answer:
            self.page.get_by_test_id("queue-button").click()
        return answer.value.json().get("prompt_id")

    def wait_for(self, event: str, **facts):
        """The first such event whose data holds these facts."""
        ends = time.monotonic() + SLOW / 1000
        while time.monotonic() < ends:
            for name, data in list(self.events):
                if name == event and facts.items() <= data.items():
                    return data
            self.page.wait_for_timeout(100)
        raise AssertionError(f"no {event} with {facts}; last came {[name for name, _ in self.events[-12:]]}")

    def past_the_greeting(self):
        """The first visit shows the templates; away with them."""
        if not self.greeted:
            self.page.get_by_test_id("dialog-overlay").wait_for()
            self.page.keyboard.press("Escape")
            self.page.get_by_test_id("dialog-overlay").wait_for(state="detached")
            self.greeted = True

    def load(self, name: str):
        """Show a template, as its card does."""
        self.past_the_greeting()
        self.page.evaluate(
            """async name => {
                const answer = await fetch(`/api/workflow_templates/spacetime/${name}.json`);
                await app.loadGraphData(await answer.json(), true, true, name);
                app.extensionManager.command.execute("Comfy.Canvas.FitView");
            }""",
            name,
        )

    def set(self, node: str, widget: str, value):
        """Type a value into a field of the first node of that class."""
        self.page.evaluate(
            """([kind, name, value]) => {
                const node = app.graph.nodes.find((one) => one.type === kind);
                const widget = node.widgets.find((one) => one.name === name);
                widget.value = value;
                widget.callback?.(value);
            }""",
            [node, widget, value],
        )

    def drop(self, clip: Path):
        """Let a video file fall on the canvas."""
        self.ask(DROP, base64.b64encode(clip.read_bytes()).decode())

    def ask(self, script: str, argument=None):
        return self.page.evaluate(script, argument)

    def close(self):
        self.context.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def start():
    """What serves the editor: base folder → process and address. A file may have another one."""
    return start_editor


@pytest.fixture(scope="module")
def session(start, chromium, tmp_path_factory):
    session = Session(chromium, tmp_path_factory.mktemp("base"), start=start)
    try:
        session.open()
        yield session
    finally:
        session.close()
