"""Files that carry no workflow are refused in one line, by both commands."""

import json
import shutil

import pytest

from .conftest import PICTURES, WORKFLOWS, saved


def broken(kind, folder):
    path = folder / {"picture": "photo.png", "cut video": "clip.mp4", "cut picture": "cut.png"}.get(kind, "graph.json")
    if kind == "folder":
        path.mkdir()
    elif kind == "picture":
        shutil.copy(WORKFLOWS / "text_to_video.jpg", path)
    elif kind == "cut video":
        path.write_bytes(saved(folder, "mp4 (H.264)", prompt=PICTURES).read_bytes()[:400])
    elif kind == "cut picture":
        path.write_bytes(saved(folder, "png", prompt=PICTURES).read_bytes()[:60])
    elif kind != "nothing there":
        whole = (WORKFLOWS / "text_to_video.json").read_bytes()
        contents = {"truncated": whole[: len(whole) // 2], "0 bytes": b"", "not JSON": b"{'a': 1}", "a list": b"[1]"}
        path.write_bytes({**contents, "other JSON": b'{"a": 1}', "noise": bytes(range(256))}[kind])
    return path


@pytest.mark.parametrize("command", [["check"], ["export", "--api", "--out", "OUT"]], ids=["check", "export"])
@pytest.mark.parametrize(
    "kind, code, words",
    [
        ("truncated", 3, "graph.json is cut short"),
        ("0 bytes", 3, "graph.json is empty"),
        ("not JSON", 3, "graph.json is no valid JSON"),
        ("a list", 3, "graph.json holds a list"),
        ("other JSON", 3, "graph.json is JSON but no workflow"),
        ("noise", 3, "is no valid JSON|isn't UTF-8"),
        ("picture", 3, "photo.png carries no workflow"),
        ("cut video", 3, "clip.mp4 carries no workflow"),
        ("cut picture", 3, "cut.png"),
        ("folder", 4, "is a folder; give the workflow file in it"),
        ("nothing there", 4, "there is no file"),
    ],
)
def test_a_file_that_is_no_workflow_is_refused_in_one_line(spacetime, tmp_path, command, kind, code, words):
    path = broken(kind, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    command = [str(tmp_path / "twin.json") if one == "OUT" else one for one in command]
    found, out, (line,) = spacetime(*command, path)
    assert (found, out) == (code, "") and line.startswith("spacetime: "), line
    assert any(word in line for word in words.split("|")), line
    found, out, _ = spacetime(*command, path, "--json")
    assert found == code and json.loads(out)["error"]["code"] == {3: "invalid_workflow", 4: "missing_file"}[code]
    assert sorted(tmp_path.rglob("*")) == before
