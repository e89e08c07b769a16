"""The README's pictures, of a real run in a real editor: `python tests/browser/pictures.py` writes them to docs/.

It stands beside the browser tests because it opens the editor as they do. editor.png is the finished run; editor.webp
tells how it came about, at the speed it had on this machine.
"""

import io
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from conftest import Session
from PIL import Image
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parents[2] / "docs"
PROMPT = "A red triangle moves right slowly on a beige background."
SIZE = {"width": 1600, "height": 900}  # smaller, and the editor hides the prompts: too small to read
SHOWN = (960, 540)  # the animation, in pixels
EVERY = 0.2  # seconds between two of its pictures
LONGEST = 1.0  # that one picture of it stands, whatever the machine was busy with


class Film:
    """Pictures with how long each stands; those alike stand together."""

    def __init__(self, page):
        self.page, self.frames, self.times = page, [], []

    def shoot(self, seconds: float):
        picture = Image.open(io.BytesIO(self.page.screenshot(type="png"))).convert("RGB")
        picture = picture.resize(SHOWN, Image.Resampling.LANCZOS)
        if self.frames and self.frames[-1].tobytes() == picture.tobytes():
            self.times[-1] += seconds
        else:
            self.frames.append(picture)
            self.times.append(seconds)

    def watch(self, until, limit: float):
        """A picture now and then, until it is true."""
        ends = time.monotonic() + limit
        while not until():
            if time.monotonic() > ends:
                sys.exit("the run doesn't end")
            began = time.monotonic()
            self.page.wait_for_timeout(1000 * EVERY)
            self.shoot(min(LONGEST, time.monotonic() - began))

    def save(self, path: Path):
        first, *others = self.frames
        times = [round(1000 * seconds) for seconds in self.times]
        first.save(path, save_all=True, append_images=others, duration=times, loop=0, quality=60, method=6)


def quiet(session: Session):
    """Only the graph: no minimap, no figures, no grid."""
    for name, value in (("Comfy.Minimap.Visible", False), ("Comfy.Graph.CanvasInfo", False)):
        session.ask("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])


def main():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as api:
        browser = api.chromium.launch(executable_path=path, args=["--no-sandbox"])
        session = Session(browser, Path(folder))
        try:
            session.page.set_viewport_size(SIZE)
            session.open()
            session.load("text_to_image")  # once before, so that the film doesn't show how torch is loaded
            session.set("SpacetimeSample", "steps", 1)
            session.wait_for("execution_success", prompt_id=session.run())
            session.load("text_to_video")
            quiet(session)
            session.page.wait_for_timeout(2000)
            film = Film(session.page)
            field = session.page.locator("textarea[placeholder=positive]:visible").first
            film.shoot(1.0)
            field.fill("")
            for end in range(4, len(PROMPT) + 4, 4):
                field.fill(PROMPT[:end])
                film.shoot(0.12)
            session.ask(
                "() => { document.activeElement.blur(); app.canvas.deselectAll(); app.canvas.setDirty(true, true); }"
            )
            film.shoot(0.5)
            job = session.run()
            film.watch(lambda: any(one == "execution_success" and data["prompt_id"] == job
                                   for one, data in session.events), 300)  # fmt: skip
            session.page.wait_for_function("() => document.querySelector('video')?.readyState >= 2")
            session.page.evaluate(
                "() => { const video = document.querySelector('video'); video.loop = true; video.play(); }"
            )
            film.watch(lambda: session.ask("() => document.querySelector('video').currentTime > 1.2"), 30)
            session.page.wait_for_timeout(500)
            DOCS.mkdir(exist_ok=True)
            session.page.screenshot(path=str(DOCS / "editor.png"))
            with Image.open(DOCS / "editor.png") as picture:
                picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(DOCS / "editor.png", optimize=True)
            began = time.monotonic()
            film.watch(lambda: time.monotonic() - began > 3, 30)
            film.save(DOCS / "editor.webp")
        finally:
            session.close()
            browser.close()
    for name in ("editor.png", "editor.webp"):
        print(f"{DOCS / name}: {(DOCS / name).stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
