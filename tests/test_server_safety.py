"""Broken and hostile requests: each gets a plain refusal, nothing outside the folders is touched, the process lives."""

import asyncio
import json
import os
import socket
from urllib.parse import unquote

import aiohttp
import pytest

JSON = {"Content-Type": "application/json"}
PROMPT = {"2": {"class_type": "Show", "inputs": {"value": 1}}}


def refused(answer, *statuses):
    """A 4xx whose body is one line of JSON."""
    status, headers, body = answer
    assert status in statuses, answer
    error = json.loads(body)["error"]
    assert error["message"] and "\n" not in error["message"] and "Traceback" not in body.decode()
    return error["message"]


def alive(editor):
    return editor.over(editor.post("/api/prompt", {"prompt": PROMPT})["prompt_id"])["status"] == "completed"


# who may ask


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8188", "127.0.0.1.evil.example", "192.168.1.5", "", "["]
)
def test_a_foreign_host_is_refused(editor, host):
    """DNS rebinding: a name that an attacker points at 127.0.0.1."""
    for path in ("/api/object_info", "/"):
        assert refused(editor.ask("GET", path, headers={"Host": host}), 403, 400)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9000", "[::1]:8188", "LOCALHOST:1"])
def test_this_machine_may_be_called_by_its_names(editor, host):
    assert editor.ask("GET", "/api/users", headers={"Host": host})[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1", "file://", "http://[", ""])
@pytest.mark.parametrize("path", ["/api/prompt", "/prompt", "/api/interrupt", "/api/settings/a", "/api/userdata/a"])
def test_a_page_from_elsewhere_cant_post(editor, origin, path):
    refused(editor.ask("POST", path, "{}", {**JSON, "Origin": origin}), 403)
    assert not (editor.base / "user").exists()


def test_a_form_or_plain_text_without_an_origin_isnt_taken_for_json(editor):
    body = json.dumps({"prompt": PROMPT})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a"):
        refused(editor.ask("POST", "/api/prompt", body, {"Content-Type": kind}), 415)
    own = {"Content-Type": "text/plain;charset=UTF-8", "Origin": f"http://127.0.0.1:{editor.port}"}
    assert editor.ask("POST", "/api/settings/a", "1", own)[0] == 200, "the editor's own page sends settings so"


def test_a_page_from_elsewhere_cant_embed_what_is_here(editor):
    for site in ("cross-site", "same-site"):
        refused(editor.ask("GET", "/api/history", headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}), 403)
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert editor.ask("GET", "/", headers=link)[0] == 200, "a link to the editor opens it"
    refused(editor.ask("GET", "/api/view?filename=a.png", headers=link), 403)


def test_a_foreign_page_cant_open_the_websocket(editor):
    async def dial(headers):
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"http://127.0.0.1:{editor.port}/ws", headers=headers) as ws:
                return (await ws.receive_json())["type"]

    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            asyncio.run(dial(headers))
    assert asyncio.run(dial({"Origin": f"http://127.0.0.1:{editor.port}"})) == "status"
    assert asyncio.run(dial({})) == "status", "a program without a page may listen"


def test_other_machines_need_the_token(make_editor):
    editor = make_editor(token="a-long-secret")
    assert "token" in refused(editor.ask("GET", "/"), 401)
    refused(editor.ask("GET", "/api/object_info"), 401)
    refused(editor.ask("GET", "/?token=wrong"), 401)
    refused(editor.ask("GET", "/api/users?token=a-long-secret"), 401)
    refused(editor.ask("POST", "/api/prompt", "{}", {**JSON, "Cookie": "spacetime_token=wrong"}), 401)
    assert editor.ask("GET", "/api/users", headers={"Authorization": "Bearer a-long-secret"})[0] == 200
    status, headers, _ = editor.ask("GET", "/?token=a-long-secret&file=a%20b.json")
    assert status == 302 and headers["Location"] == "/?file=a+b.json"
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
    assert editor.ask("GET", "/", headers={"Cookie": cookie.partition(";")[0], "Host": "my-server:8188"})[0] == 200
    foreign = {"Cookie": cookie.partition(";")[0], "Origin": "https://evil.example"}
    refused(editor.ask("POST", "/api/interrupt", "{}", {**JSON, **foreign}), 403)


# what may be reached

OUTSIDE = [
    "../secret.txt", "..%2Fsecret.txt", "%2e%2e/secret.txt", "%252e%252e%252fsecret.txt", "a/../../secret.txt",
    "..%5Csecret.txt", "%2Fetc%2Fpasswd", "C:%5Csecret.txt", "C:/secret.txt", "secret.txt%00.png", "....//secret.txt",
    "leak.txt", "leakdir/secret.txt", "%ff%fe", "x" * 300, "a%0d%0ab", ".", "", "%ed%a0%80",
]  # fmt: skip


@pytest.fixture
def guarded(editor):
    """Secrets beside the folders, and symlinks to them inside."""
    (editor.base / "secret.txt").write_text("SECRET")
    for name in ("input", "output", "temp", "user/default"):
        folder = editor.base / name
        folder.mkdir(parents=True)
        (folder / "leak.txt").symlink_to(editor.base / "secret.txt")
        (folder / "leakdir").symlink_to(editor.base)
        (folder / "loop").symlink_to(folder / "loop")
    return editor


def tree(base):
    return sorted(
        (str(path.relative_to(base)), path.is_symlink()) for path in base.rglob("*") if "leakdir" not in str(path)
    )


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_the_folders_is_read(guarded, name):
    paths = [f"/api/view?filename={name}&type={kind}" for kind in ("input", "output", "temp")]
    paths += [f"/api/view?filename=secret.txt&subfolder={name}", f"/api/view?filename={name}&preview=webp"]
    paths += [f"/api/userdata/{name}", f"/api/userdata?dir={name}&recurse=true&full_info=true"]
    paths += [f"/api/workflow_templates/spacetime/{name}", f"/extensions/spacetime/{name}", f"/docs/{name}"]
    paths += [
        f"/extensions/core/{name}",
        f"/assets/{name}",
        f"/api/experiment/models/{name}",
        f"/internal/files/{name}",
    ]
    for path in paths:
        status, _, body = guarded.ask("GET", path)
        assert b"SECRET" not in body and b"root:" not in body, path
        assert status < 500, (path, status, body)
        assert "secret" not in body.decode("utf-8", "replace").replace(name, "") or status >= 400, path


@pytest.mark.parametrize("name", OUTSIDE)
def test_nothing_outside_the_folders_is_written_or_removed(guarded, name):
    before = tree(guarded.base)
    guarded.ask("POST", f"/api/userdata/{name}", "BAD")
    guarded.ask("DELETE", f"/api/userdata/{name}")
    (guarded.base / "user/default/mine.json").write_text("{}")
    guarded.ask("POST", f"/api/userdata/mine.json/move/{name.replace('/', '%2F')}")
    for folder in ("input", "output", "temp"):
        assert (guarded.base / "secret.txt").read_text() == "SECRET"
        plain = unquote(name, errors="replace").replace("\r", "").replace("\n", "")
        body = (
            f'--X\r\nContent-Disposition: form-data; name="type"\r\n\r\n{folder}\r\n'
            f'--X\r\nContent-Disposition: form-data; name="subfolder"\r\n\r\n{plain}\r\n'
            f'--X\r\nContent-Disposition: form-data; name="image"; filename="{plain or "a"}"\r\n\r\nBAD\r\n--X--\r\n'
        ).encode("utf-8", "replace")
        status, _, answer = guarded.ask(
            "POST", "/api/upload/image", body, {"Content-Type": "multipart/form-data; boundary=X"}
        )
        assert status < 500, answer
    assert (guarded.base / "secret.txt").read_text() == "SECRET"
    outside = [path for path in tree(guarded.base) if path not in before]
    assert all(one.split(os.sep)[0] in ("input", "output", "temp", "user") for one, _ in outside), outside
    assert sorted(os.listdir(guarded.base)) == ["input", "output", "secret.txt", "temp", "user"]


@pytest.mark.parametrize(
    "name", ["a.html", "a.svg", "a.xhtml", "a.xml", "a.js", "a.txt", "a", "a.HTML", 'a"b.htm', "a.pdf"]
)
def test_nothing_runs_inside_the_browser(editor, name):
    (editor.base / "output").mkdir()
    (editor.base / "output" / name).write_text(
        "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    )
    status, headers, _ = editor.ask("GET", f"/api/view?filename={name.replace(chr(34), '%22')}")
    assert status == 200 and headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment") and headers["X-Content-Type-Options"] == "nosniff"
    assert (
        "sandbox" in headers["Content-Security-Policy"] and "default-src 'none'" in headers["Content-Security-Policy"]
    )
    editor.ask("POST", "/api/userdata/evil.html", "<script>")
    headers = editor.ask("GET", "/api/userdata/evil.html")[1]
    assert headers["Content-Type"] == "application/octet-stream" and "attachment" in headers["Content-Disposition"]


def test_pages_may_load_from_this_server_only(editor):
    policy = editor.ask("GET", "/")[1]["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
    sources = {word for part in policy.split(";") for word in part.split()[1:]}
    assert sources <= {"'self'", "'none'", "'unsafe-inline'", "'unsafe-eval'", "data:", "blob:"}
    for path in ("/api/jobs", "/api/nothing", "/assets/favicon.ico"):
        assert "Content-Security-Policy" in editor.ask("GET", path)[1], path


def test_files_keep_their_place_when_a_name_says_otherwise(editor):
    for sent, kept in (
        ("../../x.png", "x.png"),
        ("/etc/a.png", "a.png"),
        ("C:\\\\b.png", "b.png"),
        (".hidden", "hidden"),
    ):
        body = f'--X\r\nContent-Disposition: form-data; name="image"; filename="{sent}"\r\n\r\nA\r\n--X--\r\n'
        status, _, answer = editor.ask(
            "POST", "/api/upload/image", body, {"Content-Type": "multipart/form-data; boundary=X"}
        )
        assert status == 200 and json.loads(answer)["name"] == kept, (sent, answer)


def test_a_broken_upload_leaves_nothing(editor, monkeypatch):
    from spacetime_nodes.host import files

    monkeypatch.setattr(files, "MOST_UPLOAD", 1000)
    head = '--X\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=X"}
    refused(editor.ask("POST", "/api/upload/image", head + "A" * 5000 + "\r\n--X--\r\n", form), 413)
    for body in ("", "--X", head, head + "cut off", "--Y\r\n\r\n", "--X\r\n\r\nno name\r\n--X--\r\n"):
        refused(editor.ask("POST", "/api/upload/image", body, form), 400)
    refused(editor.ask("POST", "/api/upload/image", "A", {"Content-Type": "multipart/form-data"}), 400)
    refused(editor.ask("POST", "/api/upload/image", "{}", JSON), 415)
    long = head.replace('"image"; filename="a.png"', '"subfolder"') + "A" * 9000 + "\r\n--X--\r\n"
    refused(editor.ask("POST", "/api/upload/image", long, form), 413)
    assert list((editor.base / "input").iterdir()) == []


# what may be said


@pytest.mark.parametrize(
    "field, value",
    [
        ("client_id", {"a": 1}), ("client_id", ["a"]), ("client_id", 5), ("client_id", "x" * 1000),
        ("prompt_id", {}), ("prompt_id", []), ("prompt_id", "a\nb"),
        ("extra_data", [1]), ("extra_data", "x"), ("extra_data", {"extra_pnginfo": "x"}),
        ("number", "first"), ("number", [1]), ("number", True), ("number", {}),
        ("partial_execution_targets", "4"), ("partial_execution_targets", [{}]),
        ("prompt", None), ("prompt", []), ("prompt", "x"), ("prompt", {}), ("prompt", {"1": None}),
        ("prompt", {"1": {"class_type": []}}), ("prompt", {"1": {"class_type": "Show", "inputs": []}}),
        ("prompt", {"1": {"class_type": "Show", "inputs": {"value": ["1", 0]}}}),
    ],
)  # fmt: skip
def test_a_prompt_with_a_wrong_part_is_refused_in_one_line(editor, field, value):
    refused(editor.ask("POST", "/api/prompt", json.dumps({"prompt": PROMPT, field: value}), JSON), 400)
    assert alive(editor)


BODIES = [b"", b"{", b"null", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"prompt": NaN}', b'{"number": Infinity}']
BODIES += [
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": 1, "a": 2}',
    b"\x00",
    b'{"prompt": {"1": {"class_type": "\\ud800"}}}',
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:20]))
def test_a_body_that_is_no_request_is_refused(editor, body):
    refused(editor.ask("POST", "/api/prompt", body, JSON), 400)
    for path in ("/api/queue", "/api/history", "/api/free", "/api/interrupt", "/api/jobs/cancel", "/api/settings"):
        status, _, answer = editor.ask("POST", path, body, JSON)
        assert status in (200, 400), (path, answer)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity"])
def test_numbers_that_json_doesnt_know_are_refused(editor, number):
    for path in ("/api/queue", "/api/history", "/api/free", "/api/settings"):
        refused(editor.ask("POST", path, b'{"clear": %s}' % number, JSON), 400)
    assert editor.post("/api/settings", {"a": "NaN"}) == {}, "as a word it is one"


def test_numbers_in_a_query_must_be_numbers(editor):
    for path in (
        "history?max_items=abc",
        "jobs?limit=-1",
        "jobs?offset=1e9",
        "jobs?limit=" + "9" * 5000,
        "jobs?status=x",
    ):
        assert refused(editor.ask("GET", "/api/" + path), 400)


def test_a_body_over_the_limit_is_refused(editor):
    refused(editor.ask("POST", "/api/settings", b" " * (65 * 2**20), JSON), 413)
    assert alive(editor)


def test_a_prompt_id_is_used_once(editor):
    body = {"prompt": PROMPT, "prompt_id": "mine"}
    assert editor.post("/api/prompt", body)["prompt_id"] == "mine"
    refused(editor.ask("POST", "/api/prompt", json.dumps(body), JSON), 409)


def test_a_full_queue_says_so(editor, monkeypatch):
    from spacetime_nodes.host import jobs

    monkeypatch.setattr(jobs, "MOST_PENDING", 2)
    running = editor.queue(1, steps=3000)["prompt_id"]
    editor.until(lambda: editor.job(running)["status"] == "in_progress")
    editor.queue(1), editor.queue(1)
    refused(editor.ask("POST", "/api/prompt", json.dumps({"prompt": PROMPT}), JSON), 429)
    editor.post("/api/queue", {"clear": True})
    editor.post("/api/interrupt")
    assert alive(editor)


def test_garbage_on_the_websocket_is_passed_over(editor):
    async def babble():
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"http://127.0.0.1:{editor.port}/ws?clientId=x") as ws:
                for text in (
                    "",
                    "{",
                    "null",
                    "[]",
                    "5",
                    '{"type": {}}',
                    '{"type": "feature_flags", "data": []}',
                    "[" * 9999,
                ):
                    await ws.send_str(text)
                await ws.send_bytes(b"\x00\xff" * 100)
                await ws.send_str(json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": 3}}))
                return [(await ws.receive_json())["type"] for _ in range(2)]

    assert asyncio.run(babble()) == ["status", "feature_flags"]

    async def too_much():
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"http://127.0.0.1:{editor.port}/ws") as ws:
                await ws.receive()
                try:
                    await ws.send_bytes(b"x" * (3 * 2**20))
                    return (await ws.receive()).type
                except ConnectionError:  # closed before all of it was sent
                    return aiohttp.WSMsgType.CLOSED

    assert asyncio.run(too_much()) in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)
    assert alive(editor)


def test_two_windows_with_one_id_both_hear_and_one_may_leave_in_mid_run(editor):
    with editor.window("twin") as second:
        first = editor.window("twin")
        job = editor.queue(1, steps=200, client_id="twin")["prompt_id"]
        first.wait_for("progress")
        first.close()
        editor.post("/api/interrupt")
        second.wait_for("execution_interrupted", prompt_id=job)
    assert editor.over(job)["status"] == "cancelled" and alive(editor)


def test_raw_noise_on_the_port_leaves_it_open(editor):
    for noise in (
        b"\x16\x03\x01\x00\xa5",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/prompt HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{",
    ):
        with socket.create_connection(("127.0.0.1", editor.port)) as connection:
            connection.sendall(noise)
    assert alive(editor)
