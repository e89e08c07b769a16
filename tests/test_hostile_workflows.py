"""Broken and hostile workflow files: one clear line, the right exit code, no traceback, nothing written."""

import json
import re

import pytest
from spacetime_nodes.host.cli import main


@pytest.fixture
def refused(tmp_path, capsys):
    """`refused(file or bytes, code, pattern, …)`: `spacetime run` says just that, for people and as JSON."""

    def check(content, code, pattern, *arguments, name="graph.json", dry=True):
        path = tmp_path / name
        if isinstance(content, (dict, list)):
            content = json.dumps(content)
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        base = tmp_path / "base"
        base.mkdir(exist_ok=True)
        before = sorted(base.rglob("*"))
        dry_run = ["--dry-run"] if dry else []
        found = main(["run", str(path), *dry_run, "--json", "--base", str(base), *map(str, arguments)])
        out, err = capsys.readouterr()
        answer = json.loads(out)
        *notes, line = err.splitlines()
        assert found == code, f"exit code {found}: {line}"
        assert line.startswith("spacetime: ") and all(note.startswith(("note: ", "Sample: ")) for note in notes), err
        assert "Traceback" not in err and len(line) < 1000 and line.isprintable()
        assert re.search(pattern, line), line
        codes = {2: "usage", 3: "invalid_workflow", 4: "missing_file", 5: "node_failed", 6: "out_of_memory"}
        assert answer["ok"] is False and answer["error"]["code"] == codes[code]
        assert set(answer["error"]) == {"code", "message", "hint", "node"}
        assert [one for one in sorted(base.rglob("*")) if one.is_file()] == before
        return answer["error"]

    return check


def graph(**inputs):
    """A graph that would run, with node 2's inputs changed."""
    return {
        "1": {"class_type": "PrimitiveInt", "inputs": {"value": 1}},
        "2": {"class_type": "PrimitiveInt", "inputs": {"value": 1, **inputs}},
        "3": {"class_type": "SpacetimeSaveVideo", "inputs": {"video": ["4", 0], **SAVE}},
        "4": {"class_type": "LoadVideo", "inputs": {"file": "clip.mp4"}},
    }


SAVE = {"filename_prefix": "x", "format": "mp4 (H.264)", "quality": 80}


def t2v(**changes):
    """Load → grid → … → save with the real nodes; changes="node.input" → value."""
    prompt = {
        "dit": {"class_type": "SpacetimeLoadDiT", "inputs": {"model_name": "pocket (built in)", **LOAD}},
        "vae": {"class_type": "SpacetimeLoadVAE", "inputs": {"vae_name": "pocket (built in)", **LOAD}},
        "grid": {"class_type": "SpacetimeGrid", "inputs": {"dit": ["dit", 0], "vae": ["vae", 0], **GRID}},
        "decode": {
            "class_type": "SpacetimeDecode",
            "inputs": {"vae": ["vae", 0], "latent": ["grid", 0], "fps": 0, "save_latent": False},
        },
        "save": {"class_type": "SpacetimeSaveVideo", "inputs": {"video": ["decode", 0], **SAVE}},
    }
    for target, value in changes.items():
        node, name = target.split("__")
        prompt[node]["inputs"][name] = value
    return prompt


LOAD = {"dtype": "auto", "device": "cpu"}
GRID = {"aspect": "1:1", "size": 48, "width": 64, "height": 64, "seconds": 1, "fps": 8, "frames": 1, "batch_size": 1}


def ui(*nodes, links=(), **more):
    return {"version": 0.4, "nodes": list(nodes), "links": list(links), **more}


def ui_grid(**more):
    return {"id": 1, "type": "PrimitiveInt", "inputs": [], "outputs": [], "mode": 0, "widgets_values": [1], **more}


# the file itself


@pytest.mark.parametrize(
    "content, pattern",
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b" \n", "is empty", id="blank"),
        pytest.param(b'{"1": {"class_type": "X", ', "is cut short", id="truncated"),
        pytest.param(b'{"1": {"class_type": "X', "is cut short", id="truncated in a text"),
        pytest.param(b"null", "holds null; a workflow is a JSON object", id="null"),
        pytest.param(b"[1, 2]", "holds a list", id="list"),
        pytest.param(b"42", "holds 42", id="number"),
        pytest.param(b'"hi"', "holds a text", id="text"),
        pytest.param(b"true", "holds True", id="boolean"),
        pytest.param(b"{}", "holds no nodes", id="no nodes"),
        pytest.param(b'{"a": 1}', "is JSON but no workflow", id="other JSON"),
        pytest.param('{"ü": 1}'.encode("latin-1"), r"isn't UTF-8 text \(at byte 2\)", id="bad UTF-8"),
        pytest.param("\ufeff{".encode(), "is cut short", id="byte order mark"),
        pytest.param('{"a": 1}'.encode("utf-16"), "is JSON but no workflow", id="UTF-16"),
        pytest.param(b"[" * 100_000, "nested too deeply|is cut short", id="deep lists"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "graph.json is nested too deeply", id="deep objects"),
        pytest.param(b'{"a": 1, "a": 2}', "key 'a' twice", id="duplicate key"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", "number of thousands of digits", id="5000 digits"),
        pytest.param(b"{'a': 1}", "is no valid JSON: .* line 1, column 2", id="single quotes"),
    ],
)
def test_a_file_that_is_no_workflow(refused, content, pattern):
    assert refused(content, 3, pattern)


def test_a_byte_order_mark_or_utf_16_is_simply_read(tmp_path, capsys):
    prompt = json.dumps(t2v())
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "graph.json").write_text(prompt, encoding=encoding)
        assert main(["run", str(tmp_path / "graph.json"), "--dry-run", "--base", str(tmp_path)]) == 0


def test_a_file_that_isnt_there_or_is_a_folder(refused, tmp_path):
    assert refused(None, 4, "there is no file", name="missing.json")
    (tmp_path / "folder").mkdir()
    assert refused(None, 4, "is a folder; give the workflow file in it", name="folder")


# nodes, links and values


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**4000])
def test_a_number_that_is_none_or_too_large(refused, value):
    assert refused(t2v(grid__seconds=value), 3, "seconds is .*; (it takes a number|at most 600)")
    assert refused(t2v(grid__size=value), 3, "size is .*; (it takes a whole number|at most 16384)")


@pytest.mark.parametrize(
    "node, pattern",
    [
        (None, "node 2 is None"),
        ([], r"node 2 is \[\]"),
        ("x", "node 2 is x"),
        ({"inputs": {}}, "node 2 has no class_type"),
        ({"class_type": [], "inputs": {}}, r"node 2 has the class_type \[\]"),
        ({"class_type": {"a": 1}, "inputs": {}}, "node 2 has the class_type {'a': 1}"),
        ({"class_type": "PrimitiveInt", "inputs": []}, r"node 2 has the inputs \[\]"),
    ],
)
def test_a_node_that_is_none(refused, node, pattern):
    prompt = t2v()
    prompt["2"] = node
    assert refused(prompt, 3, pattern)["node"] == "2"


def test_an_unknown_class_gets_the_nearest_and_its_pack(refused):
    prompt = t2v()
    prompt["9"] = {"class_type": "SpacetimeGird", "inputs": {}}
    assert refused(prompt, 3, "'SpacetimeGird', which isn't known here; did you mean 'SpacetimeGrid'?")["node"] == "9"
    pack = {"cnr_id": "comfyui-wanvideowrapper"}
    foreign = ui_grid(type="WanVideoSampler", properties=pack)
    assert refused(
        ui(foreign), 3, "'WanVideoSampler', which isn't known here; it comes from the node pack comfyui-wanvideowr"
    )
    by_author = ui_grid(type="Foo", properties={"aux_id": "someone/ComfyUI-Foo"})
    assert refused(ui(by_author), 3, "it comes from the node pack someone/ComfyUI-Foo")
    core = ui_grid(type="KSamplerX", properties={"cnr_id": "comfy-core"})
    assert refused(ui(core), 3, "it is ComfyUI's own")


def test_a_node_linked_to_itself_or_in_a_circle(refused):
    assert refused(t2v(decode__latent=["decode", 0]), 3, "wait for each other in a circle: decode → decode")
    prompt = t2v(grid__size=["a", 0])
    prompt["a"] = {"class_type": "PrimitiveInt", "inputs": {"value": ["b", 0]}}
    prompt["b"] = {"class_type": "PrimitiveInt", "inputs": {"value": ["a", 0]}}
    assert refused(prompt, 3, "wait for each other in a circle: a → b → a")


@pytest.mark.parametrize(
    "link, pattern",
    [
        (["99", 0], "is linked to node 99, which isn't in the workflow"),
        (["grid", -1], r"output -1 of Spacetime Grid \(node grid\), which has 4 outputs"),
        (["grid", 4], "output 4 of .*, which has 4 outputs"),
        (["grid", 10**30], "output 10+0* of"),
        (["grid", 0.5], r"is linked to \['grid', 0.5\]"),
        (["grid", True], r"is linked to \['grid', True\]"),
        (["grid", "0"], r"is linked to \['grid', '0'\]"),
        (["grid", None], r"is linked to \['grid', None\]"),
        ([["grid"], 0], r"is linked to \[\['grid'\], 0\]"),
        ([], r"is linked to \[\]"),
    ],
)
def test_a_link_to_nowhere(refused, link, pattern):
    assert refused(t2v(decode__latent=link), 3, pattern)["node"] == "decode"


def test_a_link_of_the_wrong_type(refused):
    assert refused(
        t2v(decode__latent=["vae", 0]), 3, "'latent' takes LATENT, but is linked to Load VAE .* gives SPACETIME_VAE"
    )


@pytest.mark.parametrize(
    "change, pattern",
    [
        ({"grid__size": 8}, "size is 8; at least 16"),
        ({"grid__size": 10**6}, "size is 1000000; at most 16384"),
        ({"grid__size": "large"}, "size is large; it takes a whole number"),
        ({"grid__size": None}, "size is None; it takes a whole number"),
        ({"grid__size": {"a": 1}}, "size is {'a': 1}; it takes a whole number"),
        ({"grid__aspect": "16:10"}, "aspect is 16:10, which isn't among its choices; did you mean '1"),
        ({"grid__aspect": {}}, "aspect is {}, which isn't among its choices"),
        ({"save__format": 5}, "format is 5, which isn't among its choices"),
    ],
)
def test_a_value_out_of_range_or_not_in_the_combo(refused, change, pattern):
    assert refused(t2v(**change), 3, pattern)


def test_a_missing_input(refused):
    prompt = t2v()
    del prompt["grid"]["inputs"]["size"]
    assert refused(prompt, 3, "'size' is missing; it takes a whole number")


def test_a_missing_model_or_file_is_said_with_the_place_it_belongs(refused, tmp_path):
    assert refused(
        t2v(dit__model_name="wan"), 4, f"model_name is wan; .* but this one isn't .*{tmp_path / 'base' / 'models'}"
    )
    assert refused(graph(), 4, "there is no file 'clip.mp4' in .*input; copy it there")
    prompt = graph()
    prompt["4"]["inputs"]["file"] = "../../etc/passwd"
    assert refused(prompt, 3, "leads out of")


# drawn graphs


@pytest.mark.parametrize(
    "drawing, pattern",
    [
        (ui(None), "a node that is None"),
        (ui({"type": "PrimitiveInt"}), "a node without an id"),
        (ui(ui_grid(id=[1])), r"\[1\] can't be the id"),
        (ui(ui_grid(type=None)), "node 1 has the type None"),
        (ui(ui_grid(), ui_grid()), "two nodes with the id 1"),
        (ui(ui_grid(inputs=5)), "its inputs are broken"),
        ({"nodes": 5}, "nodes are 5; a list would be right"),
        (ui(ui_grid(), links=[[1, 2]]), r"a link that is \[1, 2\]"),
        (ui(ui_grid(), links=[[1, 1, -1, 2, 0, "INT"]]), "has the slot -1"),
        (ui(ui_grid(), links=[[1, 1, 0.5, 2, 0, "INT"]]), "has the slot 0.5"),
        (ui(ui_grid(), links=[[1, 1, True, 2, 0, "INT"]]), "has the slot True"),
        (ui(ui_grid(), links=[[1, 1, "0", 2, 0, "INT"]]), "has the slot 0"),
        (ui(ui_grid(inputs=[{"name": "value", "type": "INT", "link": 7}]), links=[[7, 99, 0, 1, 0, "INT"]]),
         r"PrimitiveInt \(node 1\) is linked to node 99, which isn't in the workflow"),
        (ui(ui_grid(), definitions={"subgraphs": [5]}), "a subgraph definition is broken"),
    ],
)  # fmt: skip
def test_a_drawn_graph_with_broken_parts(refused, drawing, pattern):
    assert refused(drawing, 3, pattern)


def drawn_save(mode=0, values=("x", "mp4 (H.264)", 80)):
    save = {"id": 2, "type": "SpacetimeSaveVideo", "mode": mode, "widgets_values": list(values)}
    load = {"id": 1, "type": "LoadVideo", "mode": 0, "inputs": [], "widgets_values": ["clip.mp4", "image"]}
    return ui(
        load, {**save, "inputs": [{"name": "video", "type": "VIDEO", "link": 1}]}, links=[[1, 1, 0, 2, 0, "VIDEO"]]
    )


@pytest.mark.parametrize("mode", [2, 4])
def test_a_muted_or_bypassed_output_leaves_nothing_to_do(refused, mode):
    assert refused(drawn_save(mode), 3, "no node of this workflow saves or shows anything; add one, or unmute it")


def test_no_output_node(refused):
    assert refused(ui(ui_grid()), 3, "no node of this workflow saves or shows anything")


@pytest.mark.parametrize("values, count", [(("x",), 1), (("x", "gif", 80, 1, 2, 3), 6)])
def test_too_few_or_too_many_values_run_with_a_note(tmp_path, capsys, values, count):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "clip.mp4").write_bytes(b"")
    (tmp_path / "graph.json").write_text(json.dumps(drawn_save(values=values)))
    assert main(["run", str(tmp_path / "graph.json"), "--dry-run", "--base", str(tmp_path)]) == 0
    assert f"has {count} saved values where 3 belong" in capsys.readouterr().err


def test_a_subgraph_that_contains_itself(refused):
    definition = {"id": "s", "name": "loop", "nodes": [{"id": 1, "type": "s"}], "links": []}
    assert refused(ui({"id": 5, "type": "s"}, definitions={"subgraphs": [definition]}), 3, "'loop' contains itself")


def test_a_chain_of_thousands_of_subgraphs_is_refused_not_crashed_on(refused):
    chain = [{"id": f"s{i}", "nodes": [{"id": 1, "type": f"s{i + 1}"}], "links": []} for i in range(3000)]
    chain.append({"id": "s3000", "nodes": [], "links": []})
    assert refused(ui({"id": 5, "type": "s0"}, definitions={"subgraphs": chain}), 3, "nested too deeply")


# what nodes refuse


def test_an_enormous_grid_is_refused_with_the_memory_it_would_take(refused):
    huge = t2v(grid__size=16384, grid__frames=4093)
    assert refused(huge, 6, "needs about .* GB of memory, this machine has .* GB")["node"] == "grid"
    assert refused(
        t2v(grid__size=16384, grid__frames=4096), 5, "has 1025 latent frames; this model has positions for 1024"
    )


@pytest.mark.parametrize(
    "prefix, pattern",
    [
        ("../x", "leads out of the output folder"),
        ("a/../../x", "leads out of the output folder"),
        ("/tmp/x", "is an absolute path"),
        ("C:\\x", "is an absolute path"),
        ("a\r\nb", "line break or control character"),
        ("x" * 300, "too long: a name of 300 bytes"),
        ("", "filename_prefix is empty"),
    ],
)
def test_a_filename_prefix_that_leads_elsewhere(refused, prefix, pattern):
    assert refused(t2v(save__filename_prefix=prefix), 5, pattern, dry=False)


FOREIGN = {"3": {"class_type": "KSampler", "inputs": {"seed": 1}}}


def test_a_picture_carrying_somebody_else_s_graph(refused, tmp_path):
    from PIL import Image, PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", json.dumps(FOREIGN))
    Image.new("RGB", (8, 8)).save(tmp_path / "foreign.png", pnginfo=info)
    assert refused(None, 3, "'KSampler', which isn't known here", name="foreign.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "plain.png")
    assert refused(None, 3, "plain.png carries no workflow", name="plain.png")
    assert refused((tmp_path / "foreign.png").read_bytes()[:60], 3, "no workflow in cut.png", name="cut.png")
    assert refused(b"\x89PNG but not really", 3, "no workflow in", name="fake.png")


def test_a_video_carrying_somebody_else_s_graph(refused, tmp_path):
    import numpy as np
    from spacetime_nodes.media.write import write_video

    frames = [np.zeros((2, 16, 16, 3), np.uint8)]
    options = dict(width=16, height=16, fps=8)
    write_video(tmp_path / "foreign.mp4", frames, **options, metadata={"prompt": FOREIGN})
    assert refused(None, 3, "'KSampler', which isn't known here", name="foreign.mp4")
    write_video(tmp_path / "plain.mp4", frames, **options)
    assert refused(None, 3, "plain.mp4 carries no workflow", name="plain.mp4")
    assert refused((tmp_path / "foreign.mp4").read_bytes()[:100], 3, "no workflow", name="cut.mp4")


def test_a_message_is_one_short_line_whatever_the_file_says(refused):
    evil = "x\n\x1b[31m" + "y" * 10_000
    prompt = t2v()
    prompt[evil] = {"class_type": evil, "inputs": {evil: evil}, "_meta": {"title": evil}}
    assert refused(prompt, 3, "isn't known here")
