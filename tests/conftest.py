"""The real thing for every test: pocket, loaded once, and stock diffusers beside it as the oracle."""

import os
from types import SimpleNamespace

import pytest
from talk import Talk

POCKET = "pocket (built in)"

if os.environ.get("SPACETIME_STANDIN"):  # every test on a GPU
    import standin

    standin.use()
    standin.count_as_a_cpu()


@pytest.fixture(scope="session")
def nodes():
    from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS

    return NODE_CLASS_MAPPINGS


@pytest.fixture(scope="session")
def pocket(nodes):
    """The three components of the built-in model, as the loader nodes give them."""
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET)
    (vae,) = nodes["SpacetimeLoadVAE"]().run(POCKET)
    (text_encoder,) = nodes["SpacetimeLoadTextEncoder"]().run(POCKET)
    return SimpleNamespace(dit=dit, vae=vae, text_encoder=text_encoder)


@pytest.fixture(scope="session")
def stock():
    """Stock WanPipeline on pocket's folder."""
    import torch
    from diffusers import WanPipeline
    from spacetime_nodes.model_loaders.folders import POCKET_FOLDER

    pipeline = WanPipeline.from_pretrained(POCKET_FOLDER, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def base(tmp_path):
    """The folder of models/, input/ and output/."""
    return tmp_path


@pytest.fixture
def host(base):
    """A host with a base folder of its own; what nodes tell the user is collected in `host.notices`."""
    from spacetime_nodes.nodes import runtime

    host = runtime.Host(base=base)
    host.notices = []
    host.on_notice = host.notices.append
    token = runtime.HOST.set(host)
    yield host
    runtime.HOST.reset(token)


@pytest.fixture
def graph(tmp_path):
    """A file: text to video with pocket."""
    import json

    from command import t2v

    path = tmp_path / "graph.json"
    path.write_text(json.dumps(t2v()))
    return path


class Wait:
    """Does nothing for a while, in steps, with a small picture at each: what sampling is to the server."""

    RETURN_TYPES, FUNCTION, CATEGORY, TITLE = ("INT",), "run", "test", "Wait"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0}), "steps": ("INT", {"default": 1, "min": 1})}}

    def run(self, value, steps):
        import time

        from PIL import Image
        from spacetime_nodes.nodes import runtime

        bar = runtime.progress(steps)
        for i in range(steps):
            bar.update(i + 1, ("JPEG", Image.new("RGB", (64, 32), (i * 9 % 255, 0, 0)), 512))
            if steps > 1:
                time.sleep(0.02)
        return (value,)


class Show:
    RETURN_TYPES, FUNCTION, CATEGORY, TITLE, OUTPUT_NODE = (), "run", "test", "Show", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0, "min": -100, "max": 100})}}

    def run(self, value):
        if value == 13:
            raise ValueError("13 brings bad luck; any other number would be right")
        if value == 14:
            raise SystemExit("a node that ends the process")
        return {"ui": {"text": [str(value)]}}


class Editor(Talk):
    """A running server, on a thread of its own, and the ways to talk to it."""

    def __init__(self, base, **options):
        import asyncio
        import threading

        from spacetime_nodes.host.packs import Pack, own_packs
        from spacetime_nodes.host.server import Server, serve
        from spacetime_nodes.nodes import runtime

        test = Pack("test", "custom_nodes.test", classes={"Wait": Wait, "Show": Show})
        self.server = Server(runtime.Host(base=base), [*own_packs(), test], **options)
        self.base, self.loop, self.ready = base, asyncio.new_event_loop(), threading.Event()
        self.stop = asyncio.Event()

        def on_ready(port):
            self.port = port
            self.ready.set()

        def body():
            asyncio.set_event_loop(self.loop)
            self.loop.run_until_complete(serve(self.server, "127.0.0.1", [0], on_ready, self.stop))

        self.thread = threading.Thread(target=body, daemon=True)
        self.thread.start()
        assert self.ready.wait(20)

    def close(self):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(20)
        assert not self.thread.is_alive(), "the server didn't end"

    def queue(self, value=1, steps=1, expected=200, **more):
        """Wait → Show. Unless told otherwise, the answer to it."""
        prompt = {
            "1": {"class_type": "Wait", "inputs": {"value": value, "steps": steps}},
            "2": {"class_type": "Show", "inputs": {"value": ["1", 0]}},
        }
        return self.post("/api/prompt", {"prompt": prompt, **more}, expected)

    def job(self, job_id):
        return self.get(f"/api/jobs/{job_id}")

    def over(self, job_id):
        """The job, once it is over."""
        return self.until(lambda: (job := self.job(job_id))["status"] not in ("pending", "in_progress") and job)


@pytest.fixture
def editor(tmp_path):
    editor = Editor(tmp_path)
    yield editor
    editor.close()


@pytest.fixture
def make_editor(tmp_path):
    """`make_editor(**options)`: a server with other options."""
    made = []

    def make(**options):
        made.append(Editor(tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def shared_editor(tmp_path_factory):
    """One server for a whole file."""
    editor = Editor(tmp_path_factory.mktemp("shared"))
    yield editor
    editor.close()
