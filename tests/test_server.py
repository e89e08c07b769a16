"""The embedded server keeps the editor's protocol, over real HTTP and websockets."""

import json
import re
import struct
import subprocess
import sys
import time

import pytest

JSON = {"Content-Type": "application/json"}


def defaults(editor, kind):
    """The values that the editor gives a new node."""
    from spacetime_nodes.host.graph import declared

    fields = declared(editor.server.classes[kind]).values()
    return {one.name: one.default for one in fields if one.is_widget and one.category == "required"}


# what there is to drag


def test_the_page_is_the_unmodified_editor(editor):
    status, headers, body = editor.ask("GET", "/")
    assert status == 200 and headers["Cache-Control"] == "no-store" and b"<title>ComfyUI</title>" in body
    assert body == (editor.server.pages / "index.html").read_bytes()
    script = next(part for part in body.decode().split('"') if part.endswith(".js") and "assets/index" in part)
    assert editor.ask("GET", script.removeprefix("."))[0] == 200


def test_every_node_is_defined_as_the_editor_wants_it(editor, nodes):
    known = editor.get("/api/object_info")
    assert set(nodes) <= set(known) and {"LoadImage", "SaveVideo", "PrimitiveInt"} <= set(known)
    sample = known["SpacetimeSample"]
    assert sample["display_name"] == "Sample" and sample["output"] == ["LATENT"]
    assert sample["input_order"]["required"][:3] == ["dit", "positive", "negative"]
    assert known["SpacetimeSaveVideo"]["output_node"] is True and sample["output_node"] is False
    assert list(editor.get("/api/object_info/LoadImage")) == ["LoadImage"]
    assert editor.get("/api/object_info/Nothing") == {}


def test_a_file_put_into_the_input_folder_is_offered(editor):
    (editor.base / "input").mkdir()
    (editor.base / "input" / "猫 1.png").write_bytes(b"x")
    assert editor.get("/api/object_info")["LoadImage"]["input"]["required"]["image"][0] == ["猫 1.png"]
    assert editor.get("/internal/files/input") == ["猫 1.png"]


def test_every_template_has_its_graph_and_its_picture(editor):
    names = editor.get("/api/workflow_templates")["spacetime"]
    assert names[0] == "text_to_video" and names.index("text_to_image") < names.index("cogvideox_extend"), (
        "those that run as they come are shown first"
    )
    for name in names:
        assert "nodes" in editor.get(f"/api/workflow_templates/spacetime/{name}.json")
        status, headers, _ = editor.ask("GET", f"/api/workflow_templates/spacetime/{name}.jpg")
        assert status == 200 and headers["Content-Type"] == "image/jpeg"


def test_every_node_has_its_help_page(editor, nodes):
    for name in nodes:
        status, headers, body = editor.ask("GET", f"/extensions/spacetime/docs/{name}.md")
        assert status == 200 and headers["Content-Type"] == "text/markdown" and body, name


def test_translations_of_every_language_are_gathered(editor, tmp_path):
    from spacetime_nodes.host.catalog import translated
    from spacetime_nodes.host.packs import Pack

    folder = tmp_path / "pack" / "locales" / "zh"
    folder.mkdir(parents=True)
    (folder / "main.json").write_text('{"settings": {"a": {"name": "A"}}}')
    (folder / "nodeDefs.json").write_text('{"Show": {"display_name": "显示"}}', encoding="utf-8")
    (folder / "settings.json").write_text("{broken")
    found = translated([Pack("p", "p", tmp_path / "pack"), Pack("q", "q", tmp_path / "none")])
    assert found == {"zh": {"settings": {"a": {"name": "A"}}, "nodeDefs": {"Show": {"display_name": "显示"}}}}
    assert isinstance(editor.get("/api/i18n"), dict)


# a run


def test_a_window_is_greeted_and_tells_what_it_understands(editor):
    with editor.window("me") as window:
        assert window.heard[0] == ("status", {"status": {"exec_info": {"queue_remaining": 0}}, "sid": "me"})
        assert window.heard[1][0] == "feature_flags" and window.heard[1][1]["supports_preview_metadata"] is True


def test_the_events_of_a_run_come_in_order(editor):
    with editor.window("me") as window:
        answer = editor.queue(7, steps=3, client_id="me")
        assert set(answer) == {"prompt_id", "number", "node_errors"}
        window.wait_for("executing", node=None)
        run = [(name, data) for name, data in window.heard[2:] if isinstance(name, str) and name != "status"]
    names = [name for name, _ in run]
    first = ["execution_start", "execution_cached", "progress_state", "executing", "progress_state", "progress"]
    assert names[:6] == first
    assert names[-4:] == ["executed", "progress_state", "execution_success", "executing"]
    assert [data["node"] for name, data in run if name == "executing"] == ["1", "2", None]
    assert [(data["value"], data["max"]) for name, data in run if name == "progress"] == [(1, 3), (2, 3), (3, 3)]
    assert all(data["prompt_id"] == answer["prompt_id"] for _, data in run)
    shown = next(data for name, data in run if name == "executed")
    assert (shown["node"], shown["display_node"], shown["output"]) == ("2", "2", {"text": ["7"]})
    states = [data["nodes"] for name, data in run if name == "progress_state"]
    assert states[-1]["1"]["state"] == states[-1]["2"]["state"] == "finished"
    keys = {"value", "max", "state", "node_id", "prompt_id", "display_node_id", "parent_node_id", "real_node_id"}
    assert set(states[0]["1"]) == keys and states[0]["1"]["state"] == "running"
    remaining = [data["status"]["exec_info"]["queue_remaining"] for data in window.data("status")]
    assert remaining[0] == 0 and 1 in remaining and remaining[-1] == 0


def test_previews_come_in_the_format_that_the_window_understands(editor):
    with editor.window("old") as old, editor.window("new", {"supports_preview_metadata": True}) as new:
        job = editor.queue(1, steps=2, client_id="old")["prompt_id"]
        editor.over(job)
        second = editor.queue(2, steps=2, client_id="new")["prompt_id"]
        new.wait_for("executing", node=None)
    kind, body = next(one for one in old.heard if one[0] in (1, 4))
    assert kind == 1 and struct.unpack(">I", body[:4])[0] == 1 and body[4:7] == b"\xff\xd8\xff"
    kind, body = next(one for one in new.heard if one[0] in (1, 4))
    length = struct.unpack(">I", body[:4])[0]
    about = json.loads(body[4 : 4 + length])
    assert kind == 4 and about["image_type"] == "image/jpeg" and body[4 + length :][:3] == b"\xff\xd8\xff"
    assert about["node_id"] == about["display_node_id"] == "1" and about["prompt_id"] == second
    assert not old.data(4) and not new.data(1)


def test_a_programs_job_is_shown_on_no_windows_nodes(editor):
    """Its nodes' numbers are others' too."""
    with editor.window("me") as window:
        editor.over(editor.queue(5, steps=3)["prompt_id"])
        editor.over(editor.queue(6, client_id="me")["prompt_id"])
        window.wait_for("executing", node=None)
        heard = [name for name, _ in window.heard]
        assert heard.count("execution_start") == 1 and len(window.data("executed")) == 1
        assert [data["output"] for data in window.data("executed")] == [{"text": ["6"]}]


def test_out_of_memory_frees_weights_and_keeps_what_was_sampled(editor, pocket):
    from spacetime_nodes.host.executor import Kept
    from spacetime_nodes.host.worker import WEIGHTS
    from spacetime_nodes.model_loaders.dit import DiT
    from spacetime_nodes.model_loaders.folders import POCKET_FOLDER

    worker, dit = editor.server.worker, DiT(POCKET_FOLDER / "transformer")
    assert dit.adapter and DiT.adapter.made(dit)
    worker.executor.cache |= {"a": Kept([[dit]], None), "b": Kept([[{"samples": 1}]], None)}
    worker.freeing.add(WEIGHTS)
    editor.until(lambda: not worker.freeing)
    assert not DiT.adapter.made(dit) and worker.executor.cache["b"].outputs == [[{"samples": 1}]]
    worker.executor.cache.clear()


def test_what_a_node_says_stands_on_the_node(editor):
    with editor.window("me") as window:
        job = editor.queue(5, client_id="me")["prompt_id"]
        body = editor.until(lambda: window.data(3))[0]
    parts = []
    for _ in range(2):
        length = struct.unpack(">I", body[:4])[0]
        parts.append(body[4 : 4 + length].decode())
        body = body[4 + length :]
    assert [*parts, body.decode()] == [job, "2", "5"]


def test_a_long_run_says_how_long_it_still_takes(editor):
    with editor.window("me") as window:
        editor.over(editor.queue(6, steps=100, client_id="me")["prompt_id"])
        editor.until(lambda: any(body.endswith(b"6") for body in window.data(3)))
    said = [re.search(rb"step \d+ of 100, \d+ s (left|in all)$", body) for body in window.data(3)[:-1]]
    assert len(said) >= 2 and all(said) and [one[1] for one in said].index(b"in all") == len(said) - 1


def test_a_second_run_computes_only_what_changed(editor):
    with editor.window("me") as window:
        editor.over(editor.queue(4, client_id="me")["prompt_id"])
        again = editor.queue(4, client_id="me")["prompt_id"]
        editor.over(again)
        window.wait_for("executing", node=None, prompt_id=again)
        assert set(window.wait_for("execution_cached", prompt_id=again)["nodes"]) == {"1", "2"}
        assert window.wait_for("executed", prompt_id=again)["output"] == {"text": ["4"]}, "cached outputs still show"
        nodes = [data["node"] for data in window.data("executing") if data["prompt_id"] == again]
        assert nodes == [None]
    editor.post("/api/free", {"unload_models": True, "free_memory": True})
    editor.until(lambda: not editor.server.worker.executor.cache)


def test_a_failing_node_is_named_with_its_remedy_and_the_next_job_runs(editor):
    with editor.window("me") as window:
        job = editor.queue(13, client_id="me")["prompt_id"]
        error = window.wait_for("execution_error")
        assert error["node_id"] == "2" and error["node_type"] == "Show" and error["exception_type"] == "ValueError"
        assert error["exception_message"] == "13 brings bad luck; any other number would be right"
        assert isinstance(error["traceback"], list) and error["current_inputs"] == {"value": ["['1', 0]"]}
    failed = editor.over(job)
    assert failed["status"] == "failed" and failed["execution_error"]["exception_message"] == error["exception_message"]
    assert editor.get(f"/api/history/{job}")[job]["status"]["status_str"] == "error"
    assert editor.over(editor.queue(1)["prompt_id"])["status"] == "completed"


def test_a_node_that_would_end_the_process_only_fails_its_job(editor):
    failed = editor.over(editor.queue(14)["prompt_id"])
    assert failed["status"] == "failed" and "ends the process" in failed["execution_error"]["exception_message"]
    assert editor.over(editor.queue(1)["prompt_id"])["status"] == "completed"


def test_a_size_that_doesnt_fit_is_refused_before_weights_are_loaded(editor):
    prompt = {
        "1": {"class_type": "SpacetimeLoadDiT", "inputs": defaults(editor, "SpacetimeLoadDiT")},
        "2": {"class_type": "SpacetimeLoadVAE", "inputs": defaults(editor, "SpacetimeLoadVAE")},
        "3": {"class_type": "SpacetimeGrid", "inputs": defaults(editor, "SpacetimeGrid")},
    }
    prompt["3"]["inputs"] |= {"dit": ["1", 0], "vae": ["2", 0], "frames": 4000, "size": 4096}
    prompt["4"] = {"class_type": "SpacetimeSaveLatent", "inputs": defaults(editor, "SpacetimeSaveLatent")}
    prompt["4"]["inputs"] |= {"latent": ["3", 0]}
    with editor.window("me") as window:
        editor.over(editor.queue(1)["prompt_id"])
        job = editor.post("/api/prompt", {"prompt": prompt, "client_id": "me"})["prompt_id"]
        error = window.wait_for("execution_error", prompt_id=job)
        window.wait_for("executing", node=None)
        assert not editor.server.worker.freeing and editor.server.worker.executor.cache, (
            "what was computed stays: nothing ran out of memory"
        )
        assert error["node_id"] == "3" and error["exception_message"], error
        assert window.names().index("execution_start") < window.names().index("execution_error")
        assert [data["node"] for data in window.data("executing")] == [None], "no loader ran"
    assert editor.job(job)["status"] == "failed"


def test_a_bad_value_is_refused_with_comfyuis_shape(editor):
    prompt = {"2": {"class_type": "Show", "inputs": {"value": 1000}}}
    answer = editor.post("/api/prompt", {"prompt": prompt}, expected=400)
    assert answer["error"]["type"] == "prompt_outputs_failed_validation"
    entry = answer["node_errors"]["2"]
    assert entry["errors"][0]["type"] == "value_bigger_than_max" and entry["dependent_outputs"] == ["2"]
    assert entry["class_type"] == "Show"
    assert editor.post("/api/prompt", {}, expected=400)["error"]["type"] == "no_prompt"
    unknown = {"prompt": {"1": {"class_type": "Shw", "inputs": {}}}}
    assert editor.post("/api/prompt", unknown, expected=400)["error"]["type"] == "missing_node_type"
    prompt["3"] = {"class_type": "Show", "inputs": {"value": 3}}
    mixed = editor.post("/api/prompt", {"prompt": prompt})
    assert list(mixed["node_errors"]) == ["2"], "the valid output runs, the other is told"
    assert list(editor.over(mixed["prompt_id"])["outputs"]) == ["3"]


def test_only_the_wanted_outputs_run(editor):
    prompt = {name: {"class_type": "Show", "inputs": {"value": int(name)}} for name in "345"}
    answer = editor.post("/api/prompt", {"prompt": prompt, "partial_execution_targets": ["4"]})
    assert list(editor.over(answer["prompt_id"])["outputs"]) == ["4"]


# files


def test_a_real_clip_is_made_shown_and_sought(editor, tmp_path):
    loaders = {"1": "SpacetimeLoadDiT", "2": "SpacetimeLoadVAE", "3": "SpacetimeLoadTextEncoder"}
    links = {"dit": ["1", 0], "positive": ["4", 0], "negative": ["4", 1], "latent": ["5", 0]}
    nodes = {
        **{node_id: (kind, {}) for node_id, kind in loaders.items()},
        "4": ("SpacetimeEncodePrompt", {"text_encoder": ["3", 0], "positive": "red circle"}),
        "5": ("SpacetimeGrid", {"dit": ["1", 0], "vae": ["2", 0], "frames": 5, "size": 48}),
        "6": ("SpacetimeSample", {**links, "steps": 2}),
        "7": ("SpacetimeDecode", {"vae": ["2", 0], "latent": ["6", 0]}),
        "8": ("SpacetimeSaveVideo", {"video": ["7", 0]}),
    }
    prompt = {
        node_id: {"class_type": kind, "inputs": {**defaults(editor, kind), **inputs}}
        for node_id, (kind, inputs) in nodes.items()
    }
    drawn = {"nodes": [], "links": [], "version": 0.4, "id": "drawing"}
    with editor.window("me") as window:
        extra = {"extra_pnginfo": {"workflow": drawn}, "api_key_comfy_org": "secret"}
        job = editor.post("/api/prompt", {"prompt": prompt, "client_id": "me", "extra_data": extra})["prompt_id"]
        done = editor.over(job)
        assert done["status"] == "completed", done
        assert len(window.data(1)) >= 2, "a preview at every step"
    assert "secret" not in json.dumps(done)
    shown = done["preview_output"]
    assert shown["mediaType"] == "video" and shown["nodeId"] == "8" and done["workflow_id"] == "drawing"
    path = f"/api/view?filename={shown['filename']}&subfolder={shown['subfolder']}&type={shown['type']}"
    status, headers, whole = editor.ask("GET", path)
    assert status == 200 and headers["Content-Type"] == "video/mp4" and b'"drawing"' in whole
    status, headers, part = editor.ask("GET", path, headers={"Range": "bytes=100-199"})
    assert status == 206 and part == whole[100:200]
    assert headers["Content-Range"] == f"bytes 100-199/{len(whole)}"
    assert editor.ask("GET", path, headers={"Range": f"bytes={len(whole)}-"})[0] == 416


# how light it is


def test_nothing_heavy_is_imported_before_the_first_prompt(tmp_path):
    code = (
        "import sys; from spacetime_nodes.host import edit; from spacetime_nodes.host.packs import own_packs;"
        "from spacetime_nodes.host.server import Server, make_app; from spacetime_nodes.nodes import runtime;"
        "from spacetime_nodes.host.catalog import definitions;"
        "server = Server(runtime.Host(), own_packs()); make_app(server); assert definitions(server.packs);"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'numpy', 'av') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done


def test_the_definitions_are_told_within_thirty_milliseconds(editor):
    from spacetime_nodes.host.catalog import definitions
    from spacetime_nodes.host.events import as_json

    taken = []
    for _ in range(10):
        started = time.perf_counter()
        as_json(definitions(editor.server.packs))
        taken.append(time.perf_counter() - started)
    assert min(taken) < 0.03, taken


@pytest.mark.parametrize("path", ["/api/features", "/api/system_stats", "/api/users", "/api/embeddings", "/api/jobs"])
def test_small_answers_are_json(editor, path):
    assert editor.get(path) is not None


def test_an_unknown_route_says_so(editor):
    status, headers, body = editor.ask("GET", "/api/nothing")
    assert status == 404 and json.loads(body)["error"]["type"] == "not_found"
