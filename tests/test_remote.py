"""`spacetime run --server`: the same run, computed by a real `spacetime edit`, or by a server that misbehaves."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from aiohttp import WSCloseCode, web
from spacetime_nodes.host import remote
from spacetime_nodes.host.cli import main
from test_cli import child, says_one_line, t2v

WAITING = {
    "1": {"class_type": "Wait", "inputs": {"value": 4, "steps": 2}, "_meta": {"title": "Hold on"}},
    "2": {"class_type": "Show", "inputs": {"value": ["1", 0]}},
}
PICTURES = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "猫 1.png"}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}},
}
MAKE = {"5": {"class_type": "Make", "inputs": {"steps": 2}, "_meta": {"title": "My node"}}}


@pytest.fixture
def here(tmp_path):
    """The folder of the one who asks; the server's is its parent."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def run(here, capsys):
    """`spacetime run` of a graph on a server: exit code, stdout, stderr."""

    def call(graph, server, *arguments):
        url = server if isinstance(server, str) else f"127.0.0.1:{server.port}"
        if isinstance(graph, dict):
            (here / "graph.json").write_text(json.dumps(graph), encoding="utf-8")
            graph = here / "graph.json"
        code = main(["run", str(graph), "--base", str(here), "--server", url, *map(str, arguments)])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def picture(path, color="red", size=8):
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), color).save(path)


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class Fake:
    """A server as bare as ComfyUI's oldest: no /api, no jobs. Every job is over at once with `outcome`, unless told
    otherwise."""

    def __init__(self):
        self.outcome = {"outputs": {}, "status": {"status_str": "success", "completed": True, "messages": []}}
        self.definitions = {"Make": self.node({"steps": ["INT", {"default": 1, "min": 1}]})}
        self.posted, self.running, self.pending, self.history = [], [], [], {}
        self.interrupted, self.deleted, self.sockets, self.views = [], [], 0, []
        self.before = {}  # a path's first part → a handler that is asked first; None from it goes on
        self.files = {}
        self.loop, self.ready, self.stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
        self.thread = threading.Thread(target=lambda: self.loop.run_until_complete(self._serve()), daemon=True)
        self.thread.start()
        assert self.ready.wait(20)

    @staticmethod
    def node(inputs, **more):
        facts = {"input": {"required": inputs}, "output": [], "output_node": True, "display_name": "Make a thing"}
        return {**facts, **more}

    def close(self):
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(20)

    def fails(self, event="execution_error", **data):
        data = {"node_id": "5", "exception_type": "ValueError", "exception_message": "no", **data}
        self.outcome = {"outputs": {}, "status": {"status_str": "error", "completed": False}}
        self.outcome["status"]["messages"] = [["execution_start", {}], [event, data]]

    def shows(self, *entries):
        self.outcome["outputs"] = {"5": {"images": list(entries)}}

    async def _serve(self):
        @web.middleware
        async def ask_first(request, handler):
            first = self.before.get("/" + request.path.split("/")[1])
            answer = await first(request) if first else None
            return answer if answer is not None else await handler(request)

        app = web.Application(middlewares=[ask_first])
        app.add_routes(
            [
                web.get("/object_info", lambda request: self.json(self.definitions)),
                web.post("/prompt", self.post),
                web.get("/history/{id}", self.get_history),
                web.get("/queue", lambda request: self.json(self.queue())),
                web.post("/queue", self.delete),
                web.post("/interrupt", self.interrupt),
                web.get("/view", self.view),
                web.get("/ws", self.socket),
            ]
        )
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.port = runner.addresses[0][1]
        self.ready.set()
        await self.stop.wait()
        await runner.cleanup()

    async def json(self, content):
        return web.json_response(content)

    def queue(self):
        return {"queue_running": [[0, one] for one in self.running], "queue_pending": self.pending}

    async def post(self, request):
        content = await request.json()
        self.posted.append(content)
        if self.outcome is not None:
            self.history[content["prompt_id"]] = self.outcome
        else:
            self.running.append(content["prompt_id"])
        return web.json_response({"prompt_id": content["prompt_id"], "number": 1, "node_errors": {}})

    async def get_history(self, request):
        found = self.history.get(request.match_info["id"])
        return web.json_response({request.match_info["id"]: found} if found else {})

    async def interrupt(self, request):
        job = (await request.json()).get("prompt_id")
        self.interrupted.append(job)
        self.running = [one for one in self.running if one != job]
        return web.Response()

    async def delete(self, request):
        self.deleted += (await request.json())["delete"]
        self.pending = [one for one in self.pending if one[1] not in self.deleted]
        return web.Response()

    async def view(self, request):
        self.views.append(dict(request.query))
        body = self.files.get(request.query["filename"])
        return web.Response(status=404) if body is None else web.Response(body=body)

    async def socket(self, request):
        self.sockets += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            pass
        return socket


@pytest.fixture
def fake():
    fake = Fake()
    yield fake
    fake.close()


@pytest.fixture
def hasty(monkeypatch):
    """Looks more often than it would among people."""
    monkeypatch.setattr(remote, "POLL", 0.05)
    monkeypatch.setattr(remote, "ASK_QUEUE", 0.1)


# the same as here


def test_a_run_there_gives_the_frames_of_a_run_here(run, editor, here, capsys):
    from spacetime_nodes.media.metadata import read_graph
    from spacetime_nodes.media.read import open_video

    code, out, err = run(t2v(), editor, "--json", "--set", "make.seed=8")
    there = json.loads(out)
    assert code == 0, err
    assert "Make: 2/2" in err
    assert there["server"] == f"http://127.0.0.1:{editor.port}"
    assert main(["run", str(here / "graph.json"), "--base", str(here), "--json", "--set", "make.seed=8"]) == 0
    local = json.loads(capsys.readouterr().out)
    assert set(there) - {"server"} == set(local) and there["texts"] == local["texts"]
    (one,), (other,) = there["outputs"], local["outputs"]
    assert {**one, "path": ""} == {**other, "path": ""}
    assert Path(one["path"]) == here / "output" / "clip_00001_.mp4" and other["path"].endswith("clip_00002_.mp4")
    frames = [[frame.tobytes() for frame in open_video(path["path"]).frames()] for path in (one, other)]
    assert frames[0] == frames[1] and len(frames[0]) == 5
    assert read_graph(one["path"])["prompt"]["6"]["inputs"]["seed"] == 8


def test_nodes_that_only_the_server_knows_are_converted_and_run(run, editor):
    hold = {"id": 1, "type": "Wait", "inputs": [], "widgets_values": [5, 2], "title": "Hold on"}
    show = {"id": 2, "type": "Show", "widgets_values": [0], "inputs": [{"name": "value", "type": "INT", "link": 1}]}
    drawing = {"version": 0.4, "nodes": [hold, show], "links": [[1, 1, 0, 2, 0, "INT"]]}
    code, out, err = run(drawing, editor, "--json", "--set", "hold on.value=6")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["texts"] == [{"node": "2", "title": "Show", "type": "text", "text": "6"}] and not answer["outputs"]
    assert "Hold on: 2/2" in err
    (job,) = editor.get("/api/jobs")["jobs"]
    sent = editor.job(job["id"])["workflow"]["extra_data"]["extra_pnginfo"]["workflow"]
    assert sent["nodes"][0]["widgets_values"] == [6, 2], "the drawing goes along, as it was run"


def test_a_job_that_waits_says_so_and_comes_last(run, editor, hasty):
    editor.queue(1, steps=50)
    code, _, err = run(WAITING, editor, "--json")
    assert code == 0 and "note: 1 job is before this one in the server's queue" in err


def test_torch_stays_out_of_the_one_who_asks(editor, here):
    (here / "graph.json").write_text(json.dumps(WAITING))
    code = (
        "import sys; from spacetime_nodes.host.cli import main; code = main(sys.argv[1:]);"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'av', 'numpy') if name in sys.modules],"
        " file=sys.stderr); sys.exit(code)"
    )
    arguments = ["run", here / "graph.json", "--base", here, "--server", f"http://localhost:{editor.port}/"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]")


# before anything is queued


@pytest.mark.parametrize(
    "change, code, words",
    [
        (("1", "model_name", "wan.safetensors"), 4, ["model_name is wan.safetensors", "on the server"]),
        (("6", "steps", 0), 3, ["Make (node 6): steps is 0; at least 1 would be right"]),
        (("6", "latent", ["99", 0]), 3, ["is linked to node 99, which isn't in the workflow"]),
        ((None, "class_type", "Nonsense"), 3, ["node 9 is a 'Nonsense', which isn't known here"]),
    ],
)
def test_what_the_server_lacks_is_refused_as_here(run, editor, change, code, words):
    graph = t2v()
    node_id, name, value = change
    if node_id is None:
        graph["9"] = {"class_type": value, "inputs": {}}
    else:
        graph[node_id]["inputs"][name] = value
    for option in ([], ["--dry-run"]):
        found, out, err = run(graph, editor, "--json", *option)
        assert found == code and json.loads(out)["error"]["node"] == (node_id or "9")
        says_one_line(err, *words)
    assert editor.get("/api/jobs")["jobs"] == []


def test_a_dry_run_queues_nothing_and_sends_nothing(run, editor, here):
    picture(here / "input" / "猫 1.png")
    code, out, err = run(PICTURES, editor, "--dry-run")
    assert (code, err) == (0, "")
    assert out == f"{here / 'graph.json'} is valid on http://127.0.0.1:{editor.port}: 2 nodes\n"
    answer = json.loads(run(PICTURES, editor, "--dry-run", "--json")[1])
    assert answer["dry_run"] is True and answer["outputs"] == answer["reports"] == [] and answer["server"]
    assert editor.get("/api/jobs")["jobs"] == [] and not (editor.base / "input").exists()
    assert not (here / "output").exists()


@pytest.mark.parametrize("address", ["", "http://", "ftp://here:1", "127.0.0.1:99999", "a b:80", "http://[::1", "x:0"])
def test_a_bad_address_is_a_usage_error(run, address):
    code, out, err = run(MAKE, address, "--json")
    assert code == 2 and json.loads(out)["error"]["code"] == "usage"
    says_one_line(err, "is no address; http://127.0.0.1:8188 or 127.0.0.1:8188 would be right")


def test_addresses_are_taken_as_people_have_them(monkeypatch):
    monkeypatch.delenv("SPACETIME_TOKEN", raising=False)
    parse = remote.Address.parse
    assert parse("localhost:8188").url == parse("http://localhost:8188/").url == "http://localhost:8188"
    assert parse("https://gpu.example/comfy/").url == "https://gpu.example/comfy"
    assert parse("[::1]:8188").url == "http://[::1]:8188"
    printed = parse("http://127.0.0.1:8188/?token=geheim12&file=a.json")
    assert printed.url == "http://127.0.0.1:8188" and printed.headers == {"Authorization": "Bearer geheim12"}
    login = parse("https://me:p%40ss@gpu.example")
    assert login.url == "https://gpu.example" and login.headers == {"Authorization": "Basic bWU6cEBzcw=="}
    monkeypatch.setenv("SPACETIME_TOKEN", "from-outside")
    assert parse("a:1").headers == {"Authorization": "Bearer from-outside"}
    assert parse("a:1", "mine").headers == {"Authorization": "Bearer mine"}


def test_what_cant_be_talked_to_is_told_in_one_line(run, fake):
    async def page(request):
        return web.Response(text="<html>It works!</html>", content_type="text/html")

    async def elsewhere(request):
        raise web.HTTPFound("https://gpu.example/object_info")

    async def busy(request):
        return web.Response(status=503)

    async def forbidden(request):
        return web.json_response({"error": {"message": "only my own pages"}}, status=403)

    async def dropped(request):
        request.transport.abort()

    for handler, words in (
        (page, ["is neither ComfyUI nor spacetime edit (it sent text/html)"]),
        (elsewhere, ["sends on to https://gpu.example/object_info; the address there would be right"]),
        (forbidden, ["refuses the request: only my own pages"]),
        (busy, ["no answer from http://127.0.0.1:", "status 503"]),
        (dropped, ["no answer from http://127.0.0.1:", "it ended the connection"]),
    ):
        fake.before["/object_info"] = handler
        code, out, err = run(MAKE, fake, "--json")
        assert code == 2 and json.loads(out)["ok"] is False
        says_one_line(err, *words)
    fake.before.clear()
    fake.definitions = {"a": 1}
    says_one_line(run(MAKE, fake)[2], "is neither ComfyUI nor spacetime edit")
    says_one_line(run(MAKE, f"https://127.0.0.1:{fake.port}")[2], "no secure connection to https://127.0.0.1:")
    code, _, err = run(MAKE, "127.0.0.1:1")
    assert code == 2
    says_one_line(err, "no answer from http://127.0.0.1:1: Connection refused")


def test_a_server_that_never_answers_is_given_up(run, fake, monkeypatch):
    import aiohttp
    from spacetime_nodes.host import client

    async def silent(request):
        await asyncio.sleep(2)

    monkeypatch.setattr(client, "SHORT", aiohttp.ClientTimeout(total=0.2))
    fake.before["/object_info"] = silent
    code, _, err = run(MAKE, fake)
    assert code == 2
    says_one_line(err, "no answer in time")


def test_a_server_with_a_token_gets_it(run, make_editor, monkeypatch):
    editor = make_editor(token="geheim-1234")
    code, _, err = run(WAITING, editor)
    assert code == 2
    says_one_line(err, "wants a token", "--token TEXT, or SPACETIME_TOKEN in the environment")
    assert run(WAITING, editor, "--token", "falsch-5678")[0] == 2
    assert run(WAITING, editor, "--token", "geheim-1234")[0] == 0
    code, out, err = run(WAITING, f"http://127.0.0.1:{editor.port}/?token=geheim-1234", "--set", "1.value=9")
    assert code == 0 and "geheim" not in out + err and "Hold on: 2/2" in err, "the socket carries it too"
    monkeypatch.setenv("SPACETIME_TOKEN", "geheim-1234")
    assert run(WAITING, editor)[0] == 0


def test_a_token_without_a_server_is_refused(here, capsys):
    assert main(["run", str(here / "x.json"), "--token", "geheim-1234"]) == 2
    says_one_line(capsys.readouterr().err, "--server URL")


# what goes there


def test_a_picture_that_lies_here_only_is_sent(run, editor, here):
    picture(here / "input" / "猫 1.png", "red")
    code, out, err = run(PICTURES, editor)
    assert code == 0 and "note: sent 猫 1.png to the server's input folder" in err, err
    assert (editor.base / "input" / "猫 1.png").read_bytes() == (here / "input" / "猫 1.png").read_bytes()
    from PIL import Image

    assert Image.open(out.strip()).getpixel((3, 3)) == (255, 0, 0)
    picture(here / "input" / "猫 1.png", "blue", 64)
    code, _, err = run(PICTURES, editor)
    assert code == 0 and "the server has a 猫 1.png of its own, of another size" in err and "sent" not in err


def test_a_picture_that_is_nowhere_is_a_missing_file(run, editor):
    code, _, err = run(PICTURES, editor)
    assert code == 4
    says_one_line(err, "image is 猫 1.png", "belongs in input on the server, or in input here, from where it is sent")


def test_a_card_whose_picture_is_nowhere_is_refused_before_it_is_queued(run, editor):
    prompt = {"1": {"class_type": "SpacetimeStoryboard", "inputs": {"cards": "0: a sky [image sky.png]"}}}
    code, _, err = run(prompt, editor)
    assert code == 4
    says_one_line(err, "Storyboard (node 1): there is no file 'sky.png' in the server's input folder")


def test_a_list_goes_there_as_a_value_and_not_as_a_link(run, fake):
    fake.definitions["Make"]["input"]["required"]["points"] = ["POINTS", {}]
    points = {"__value__": [0.5, 1, 2]}
    assert run({"5": {"class_type": "Make", "inputs": {"steps": 1, "points": points}}}, fake)[0] == 0
    assert fake.posted[0]["prompt"]["5"]["inputs"]["points"] == points


def test_nothing_outside_of_the_input_folder_is_sent(run, editor, here):
    picture(here / "secret.png")
    (here / "input").mkdir()
    (here / "input" / "link.png").symlink_to(here / "secret.png")
    for name in ("../secret.png", str(here / "secret.png"), "link.png"):
        PICTURES["1"]["inputs"]["image"], before = name, PICTURES["1"]["inputs"]["image"]
        try:
            assert run(PICTURES, editor)[0] == 4
        finally:
            PICTURES["1"]["inputs"]["image"] = before
    assert not (editor.base / "input").exists()


def test_the_pictures_of_a_storyboard_are_sent_from_folders_too(editor, here, host):
    from spacetime_nodes.host import transfer
    from spacetime_nodes.host.client import Address, Client
    from spacetime_nodes.host.definitions import classes_of

    host.base = here
    picture(here / "input" / "sky: 1.png")
    picture(here / "input" / "cats" / "tom.png")
    cards = "0: a sky [image sky: 1.png]\n1: a cat [image cats/tom.png]\n2: the first of the batch [image 1]"
    prompt = {"1": {"class_type": "SpacetimeStoryboard", "inputs": {"cards": cards}}}

    async def body():
        async with Client(Address.parse(f"127.0.0.1:{editor.port}")) as client:
            classes = classes_of(await client.definitions())
            missing = await transfer.missing_there(client, prompt, classes)
            await transfer.send(client, missing, prompt)
            return missing, await transfer.missing_there(client, prompt, classes)

    first, then = asyncio.run(body())
    assert [one.text for one in first] == ["sky: 1.png", "cats/tom.png"] and then == []
    assert files_in(editor.base / "input") == ["cats/tom.png", "sky_ 1.png"], "and are called as the server calls them"
    assert prompt["1"]["inputs"]["cards"] == cards.replace("sky: 1.png", "sky_ 1.png")


# what goes wrong there


@pytest.mark.parametrize(
    "kind, message, code, name",
    [
        ("ValueError", "length 80 doesn't fit: 77 or 81", 5, "node_failed"),
        ("torch.OutOfMemoryError", "Allocation on device\nTIPS: smaller", 6, "out_of_memory"),
        ("MemoryError", "needs 90 GB", 6, "out_of_memory"),
        ("ModuleNotFoundError", "No module named 'sentencepiece'", 5, "node_failed"),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried", 6, "out_of_memory"),
        ("FileNotFoundError", "there is no vae.safetensors", 4, "missing_file"),
        ("spacetime_nodes.model_loaders.checkpoint.CheckpointError", "it is a web page", 4, "missing_file"),
        ("KeyError", "'weight'", 5, "node_failed"),
    ],
)
def test_each_failure_there_has_its_exit_code_here(run, fake, kind, message, code, name):
    fake.fails(exception_type=kind, exception_message=message)
    found, out, err = run(MAKE, fake, "--json")
    answer = json.loads(out)["error"]
    assert (found, answer["code"], answer["node"]) == (code, name, "5")
    says_one_line(err, "My node (node 5): " + message.split("\n")[0])
    hint = answer["hint"]
    assert bool(hint) == (code == 6)
    if hint:  # our own servers say it in their message
        fake.fails(exception_type=kind, exception_message=f"{message} ({hint})")
        assert json.loads(run(MAKE, fake, "--json")[1])["error"] == answer


def test_a_failing_node_of_a_real_server_is_told_as_here(run, editor):
    code, out, err = run(WAITING, editor, "--json", "--set", "hold on.value=13")
    assert code == 5 and json.loads(out)["error"]["node"] == "2"
    says_one_line(err, "Show (node 2): 13 brings bad luck; any other number would be right")


def test_an_interruption_there_and_a_run_that_fails_without_a_word(run, fake):
    fake.fails("execution_interrupted")
    code, _, err = run(MAKE, fake)
    assert code == 130
    says_one_line(err, "interrupted on the server")
    fake.fails("execution_start")
    assert run(MAKE, fake)[0] == 5


def test_an_output_that_a_node_blocks_is_a_failure_though_only_the_socket_says_so(run, fake, hasty):
    fake.outcome, over = None, fake.outcome

    async def socket(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        while not fake.posted:
            await asyncio.sleep(0.01)
        job = fake.posted[0]["prompt_id"]
        data = {"prompt_id": job, "node_id": "5", "exception_type": "ExecutionBlocked"}
        data["exception_message"] = "Execution Blocked: too dark"
        await socket.send_json({"type": "execution_error", "data": data})
        await asyncio.sleep(0.1)
        fake.history[job] = over
        await socket.receive()
        return socket

    fake.before["/ws"] = socket
    code, _, err = run(MAKE, fake)
    assert code == 5
    says_one_line(err, "My node (node 5): too dark")


@pytest.mark.parametrize(
    "answer, code, words",
    [
        (
            {"type": "custom_validation_failed", "message": "Custom validation failed for node", "details": "no such"},
            3,
            ["My node (node 5): Custom validation failed for node: no such"],
        ),
        (
            {
                "type": "value_not_in_list",
                "message": "Not there",
                "details": "a.png",
                "extra_info": {"input_name": "file"},
            },
            4,
            ["My node (node 5): Not there: a.png"],
        ),
        (None, 3, ["the server refuses the workflow: Nothing to do (really)"]),
    ],
)
def test_what_the_server_refuses_itself_is_told(run, fake, answer, code, words):
    fake.definitions["Make"]["input"]["required"]["file"] = [["a.png"], {"image_upload": True}]
    fake.files["a.png"] = b"x"

    async def refuse(request):
        errors = {"5": {"errors": [answer], "class_type": "Make"}} if answer else {}
        error = {"type": "x", "message": "Nothing to do", "details": "really"}
        return web.json_response({"error": error, "node_errors": errors}, status=400)

    fake.before["/prompt"] = refuse
    found, _, err = run({"5": {**MAKE["5"], "inputs": {"steps": 1, "file": "a.png"}}}, fake)
    assert found == code
    says_one_line(err, *words)


def test_a_job_of_which_only_a_part_would_run_is_taken_back(run, fake):
    async def half(request):
        content = await request.json()
        fake.pending.append([1, content["prompt_id"]])
        errors = {"5": {"errors": [{"type": "x", "message": "No good", "details": ""}], "class_type": "Make"}}
        return web.json_response({"prompt_id": content["prompt_id"], "number": 1, "node_errors": errors})

    fake.before["/prompt"] = half
    code, _, err = run(MAKE, fake)
    assert code == 3 and len(fake.deleted) == 1 and not fake.pending
    says_one_line(err, "My node (node 5): No good")


# the line breaks


def test_a_socket_that_says_nothing_is_not_waited_for(run, fake, hasty):
    fake.outcome, over = None, fake.outcome

    async def post(request):
        asyncio.get_running_loop().call_later(0.3, fake.history.__setitem__, (await request.json())["prompt_id"], over)

    fake.before["/prompt"] = post
    started = time.monotonic()
    code, _, err = run(MAKE, fake)
    assert (code, err, fake.sockets) == (0, "", 1) and time.monotonic() - started < 10


@pytest.mark.parametrize("way", ["drops", "no socket", "nonsense"])
def test_polling_decides_whatever_the_socket_does(run, fake, hasty, monkeypatch, way):
    from spacetime_nodes.host import listen

    monkeypatch.setattr(listen, "RETRY", 0.05)
    fake.outcome, over = None, fake.outcome

    async def socket(request):
        fake.sockets += 1
        if fake.sockets == 4:
            fake.history[fake.posted[0]["prompt_id"]] = over
        if way == "no socket":
            return web.Response(status=404)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if way == "nonsense":
            for text in ("{", "[]", '{"type": 1}', '{"type": "progress", "data": []}', "[" * 5000):
                await socket.send_str(text)
            job = fake.posted[0]["prompt_id"] if fake.posted else ""
            for facts in (
                {"value": "1", "max": None},
                {"value": -1, "max": 10**30},
                {"value": 1, "max": 2, "node": [1]},
            ):
                await socket.send_json({"type": "progress", "data": {"prompt_id": job, "node": "5", **facts}})
            await socket.send_bytes(b"\0\0\0\3\xff\xff\xff\xff")
            await socket.send_bytes(b"\0")
        request.transport.abort()
        return socket

    fake.before["/ws"] = socket
    code, _, err = run(MAKE, fake)
    assert code == 0 and fake.sockets >= 4, err


def test_what_a_node_says_is_told_but_not_how_far_it_is():
    from spacetime_nodes.host.console import Console
    from spacetime_nodes.host.listen import Listener

    listener = Listener(None, Console(), {"7": {"class_type": "SpacetimeSample"}}, {})
    listener.job_id = "job"
    for text in (b"sampled in 3 windows", b"step 2 of 20, 40 s left"):
        for head in (b"\0\0\0\3job", b""):
            listener._hear_text(b"\0\0\0\3" + head + b"\0\0\0\x017" + text)
    assert list(listener.texts) == ["sampled in 3 windows"]


def test_a_progress_bar_goes_on_after_the_socket_came_back(run, fake, hasty):
    fake.outcome, over = None, fake.outcome

    async def socket(request):
        fake.sockets += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        while not fake.posted:
            await asyncio.sleep(0.01)
        job = fake.posted[0]["prompt_id"]
        data = {"prompt_id": job, "node": "5", "value": fake.sockets, "max": 2}
        await socket.send_json({"type": "progress", "data": data})
        if fake.sockets == 2:
            fake.history[job] = over
            await socket.send_json({"type": "executing", "data": {"prompt_id": job, "node": None}})
            await socket.receive()
        await socket.close(code=WSCloseCode.GOING_AWAY)
        return socket

    fake.before["/ws"] = socket
    code, _, err = run(MAKE, fake)
    assert code == 0 and err.splitlines() == ["My node: 1/2", "My node: 2/2"]


def test_a_job_that_the_server_forgot_is_an_error_and_not_a_wait(run, fake, hasty):
    fake.outcome = None

    async def post(request):
        return web.json_response({"prompt_id": (await request.json())["prompt_id"], "number": 1, "node_errors": {}})

    fake.before["/prompt"] = post
    code, out, err = run(MAKE, fake, "--json")
    assert code == 5 and json.loads(out)["error"]["code"] == "server_failed"
    says_one_line(err, "the server doesn't know the job any more: it was started anew, or somebody deleted the job")


def test_a_server_that_is_away_for_a_while_is_waited_for(run, fake, hasty, monkeypatch):
    asked = []

    async def away(request):
        asked.append(request)
        if len(asked) in (1, 3):
            return web.Response(status=502)
        if len(asked) in (2, 4):
            request.transport.abort()
            return web.Response()

    monkeypatch.setattr(remote, "PATIENCE", 20)
    fake.before["/history"] = away
    code, _, err = run(MAKE, fake)
    assert code == 0 and len(asked) == 5 and err.count("trying again") == 1, err
    monkeypatch.setattr(remote, "PATIENCE", 0.2)

    async def gone(request):
        return web.Response(status=502)

    fake.before["/history"] = gone
    code, _, err = run(MAKE, fake)
    assert code == 5
    says_one_line(err, "hasn't answered for 0.2 s: status 502", "may still run")


def test_an_answer_that_got_lost_costs_no_job(run, fake, hasty):
    async def post(request):
        await fake.post(request)
        request.transport.abort()
        return web.Response()

    fake.before["/prompt"] = post
    code, _, err = run(MAKE, fake)
    assert code == 0 and len(fake.posted) == 1, err


# what comes back


def test_half_a_file_is_fetched_again_and_never_shown(run, fake, here):
    whole = bytes(range(256)) * 4096
    fake.shows({"filename": "a.mp4", "subfolder": "s", "type": "output"})
    fake.files["a.mp4"] = whole
    seen = []

    async def half(request):
        seen.append(files_in(here / "output"))
        if len(seen) > most:
            return None
        answer = web.StreamResponse(headers={"Content-Length": str(len(whole))})
        await answer.prepare(request)
        await answer.write(whole[: len(whole) // 2])
        await asyncio.sleep(0.1)
        request.transport.abort()
        return answer

    fake.before["/view"] = half
    most = 1
    code, out, err = run(MAKE, fake)
    assert code == 0 and Path(out.strip()).read_bytes() == whole, err
    assert Path(out.strip()) == here / "output" / "s" / "a.mp4" and files_in(here / "output") == ["s/a.mp4"]
    assert all(Path(name).name.startswith(".") for names in seen for name in names)
    (here / "output" / "s" / "a.mp4").unlink()
    most = 99
    code, _, err = run(MAKE, fake)
    assert code == 5 and files_in(here / "output") == []
    says_one_line(err, "a.mp4 couldn't be fetched whole: the answer broke off", "it still lies on the server")


@pytest.mark.parametrize(
    "name, subfolder",
    [
        ("../../evil", ""),
        ("evil", "../.."),
        ("/evil", ""),
        ("evil", "/tmp"),
        ("C:evil", ""),
        ("a\nb", ""),
        ("evil", "link"),
    ],
)
def test_no_name_leaves_the_folder(run, fake, here, tmp_path, name, subfolder):
    (here / "output").mkdir()
    (here / "output" / "link").symlink_to(tmp_path)
    before = files_in(tmp_path)
    fake.shows({"filename": name, "subfolder": subfolder, "type": "output"})
    fake.files[name] = b"evil"
    code, _, err = run(MAKE, fake)
    assert code == 5 and set(files_in(tmp_path)) - set(before) <= {"here/graph.json"}
    says_one_line(err, "the server calls a result")


def test_results_never_replace_others_and_the_same_one_is_kept_once(run, fake, here):
    fake.shows(
        {"filename": "clip_00001_.mp4", "subfolder": "", "type": "output"},
        {"filename": "look.png", "subfolder": "a\\b", "type": "temp"},
        {"filename": "source.png", "subfolder": "", "type": "input"},
    )
    fake.files |= {"clip_00001_.mp4": b"new", "look.png": b"p"}
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "clip_00001_.mp4").write_bytes(b"old")
    code, out, _ = run(MAKE, fake, "--json", "--out", here / "elsewhere")
    clip, look = json.loads(out)["outputs"]
    assert code == 0 and (here / "elsewhere" / "clip_00001_.mp4").read_bytes() == b"old"
    assert clip["path"] == str(here / "elsewhere" / "clip_00002_.mp4") and Path(clip["path"]).read_bytes() == b"new"
    assert look["path"] == str(here / "temp" / "a" / "b" / "look.png") and look["folder"] == "temp"
    assert [one["filename"] for one in fake.views] == ["clip_00001_.mp4", "look.png"]
    (here / "elsewhere" / "clip_00001_.mp4").write_bytes(b"new")
    out = run(MAKE, fake, "--out", here / "elsewhere")[1]
    assert out.splitlines()[0] == str(here / "elsewhere" / "clip_00001_.mp4")
    assert len(files_in(here / "elsewhere")) == 2


# Ctrl-C


def asking(server, here, graph=WAITING, **settings):
    (here / "graph.json").write_text(json.dumps(graph))
    more = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    url = f"http://127.0.0.1:{server.port}"
    return child("run", here / "graph.json", "--base", here, "--server", url, "--json", *more)


def test_ctrl_c_interrupts_this_job_and_no_other(editor, here):
    process = asking(editor, here, **{"1.steps": 5000})
    assert process.stderr.readline().startswith("Hold on: ")
    following = editor.queue(2)["prompt_id"]
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130 and json.loads(out)["error"]["code"] == "interrupted"
    says_one_line(err, "interrupted")
    assert editor.over(following)["status"] == "completed"
    jobs = {job["id"]: job["status"] for job in editor.get("/api/jobs")["jobs"]}
    assert sorted(jobs.values()) == ["cancelled", "completed"]


def test_ctrl_c_takes_a_waiting_job_from_the_queue(editor, here):
    running = editor.queue(1, steps=5000)["prompt_id"]
    process = asking(editor, here)
    editor.until(lambda: len(editor.get("/api/jobs?status=pending")["jobs"]) == 1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130 and editor.get("/api/jobs?status=pending")["jobs"] == []
    assert editor.job(running)["status"] == "in_progress"
    editor.post("/api/interrupt", {"prompt_id": running})


def test_ctrl_c_twice_leaves_at_once(fake, here):
    fake.outcome = None

    async def deaf(request):
        fake.interrupted.append((await request.json())["prompt_id"])
        return web.Response()

    fake.before["/interrupt"] = deaf
    process = asking(fake, here, MAKE)
    ends = time.monotonic() + 30
    while not fake.posted and time.monotonic() < ends:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C again stops at once" in process.stderr.readline()
    while not fake.interrupted and time.monotonic() < ends:
        time.sleep(0.02)
    assert set(fake.interrupted) == {fake.posted[0]["prompt_id"]} and process.poll() is None
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - started < 5
    assert json.loads(out)["error"]["code"] == "interrupted"


def test_ctrl_c_is_heard_though_the_server_is_gone(fake, here, capsys):
    from spacetime_nodes.host.console import Console
    from spacetime_nodes.nodes.runtime import Interrupted

    fake.outcome, stop = None, threading.Event()

    async def gone(request):
        stop.set()
        return web.Response(status=502)

    fake.before |= {"/history": gone, "/queue": gone}
    (here / "graph.json").write_text(json.dumps(MAKE))
    errand = remote.Errand(here / "graph.json", [])
    with pytest.raises(Interrupted):
        remote.run(remote.Address.parse(f"127.0.0.1:{fake.port}"), errand, Console(), stop)
    assert f"its job {fake.posted[0]['prompt_id']} may still run" in capsys.readouterr().err


# another server's nodes


def test_definitions_of_every_kind_become_inputs():
    from spacetime_nodes.host.definitions import classes_of
    from spacetime_nodes.host.graph import declared

    required = {
        "old": [["a", "b"], {"default": "b"}],
        "new": ["COMBO", {"options": ["c", "d"]}],
        "asked": ["COMBO", {"remote": {"route": "/x"}}],
        "empty": ["COMBO", {}],
        "listed": [["e"], {"remote": {"route": "/x"}}],
        "grows": ["COMFY_AUTOGROW_V3", {}],
        "plain": ["INT"],
        "broken": 7,
    }
    made = classes_of({"N": Fake.node(required, output=["IMAGE"]), "junk": 1, "bare": {}})
    inputs = declared(made["N"])
    assert inputs["old"].choices == ["a", "b"] and inputs["new"].choices == ["c", "d"]
    assert all(inputs[name].type == "STRING" and inputs[name].is_widget for name in ("asked", "empty", "listed"))
    assert inputs["grows"].category == inputs["broken"].category == "optional"
    assert made["N"].RETURN_TYPES == ("IMAGE",) and made["N"].OUTPUT_NODE and declared(made["bare"]) == {}
    assert made["N"].TITLE == "Make a thing"
