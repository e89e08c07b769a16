"""The graph in a saved file: it comes back, the editor finds it, and reading it takes no torch."""

import itertools
import json
import struct
import subprocess
import sys

import pytest
from spacetime_nodes.media.formats import FORMATS
from spacetime_nodes.media.metadata import read_graph
from spacetime_nodes.media.read import open_video

from .conftest import MOVING, PROMPT, WORKFLOW, bars, save, saved

# the graph inside


@pytest.mark.parametrize("format", list(FORMATS))
def test_the_graph_comes_back_from_the_file(format, notices):
    path = save(bars(), format=format, prompt=PROMPT, extra_pnginfo={"workflow": WORKFLOW})
    assert read_graph(path) == {"workflow": WORKFLOW, "prompt": PROMPT}
    facts = open_video(path).facts  # and the file is still a video
    assert facts.frame_count == (1 if format == "png sequence" else 9)


def test_the_editor_finds_the_graph_in_an_mp4(notices):
    """It looks for moov.udta.meta.keys and ilst; faststart puts them before the pictures."""
    data = save(bars(), prompt=PROMPT, extra_pnginfo={"workflow": WORKFLOW}).read_bytes()

    def box(name, start, end):
        while start < end:
            size = struct.unpack(">I", data[start : start + 4])[0]
            if data[start + 4 : start + 8] == name:
                return start + 8, start + size
            start += size

    assert data.index(b"moov") < data.index(b"mdat")
    start, end = box(b"meta", *box(b"udta", *box(b"moov", 0, len(data))))
    keys = data[slice(*box(b"keys", start + 4, end))]
    values = data[slice(*box(b"ilst", start + 4, end))]
    assert b"workflow" in keys and b"prompt" in keys
    assert json.loads(values[values.index(b"{") : values.index(b"}]") + 2] + b', "links": []}') == WORKFLOW


def test_the_editor_finds_the_graph_in_a_webm(notices):
    """It reads the first 2 MiB and ends the JSON where the braces balance, without knowing strings."""
    head = save(bars(), format="webm (VP9)", extra_pnginfo={"workflow": WORKFLOW}).read_bytes()[: 2 << 20]
    text = head[head.index(b"{", head.index(b"WORKFLOW")) :].decode(errors="replace")
    depths = itertools.accumulate((letter == "{") - (letter == "}") for letter in text)
    end = next(index for index, depth in enumerate(depths, 1) if depth == 0)
    assert json.loads(text[:end]) == WORKFLOW


def test_the_editor_finds_the_graph_in_a_webp(notices):
    """It walks the RIFF chunks to EXIF, then reads "name:json" strings from the first directory."""
    data = save(bars(), format="webp", prompt=PROMPT, extra_pnginfo={"workflow": WORKFLOW}).read_bytes()
    assert struct.unpack("<I", data[4:8])[0] + 8 == len(data)
    position, found = 12, {}
    while position < len(data):
        name, length = data[position : position + 4], struct.unpack("<I", data[position + 4 : position + 8])[0]
        if name == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
            offset, count = struct.unpack("<IH", exif[4:10])
            for entry in range(count):
                _, kind, size, at = struct.unpack("<HHII", exif[offset + 2 + entry * 12 :][:12])
                assert kind == 2
                key, _, text = exif[at : at + size - 1].decode().partition(":")
                found[key] = json.loads(text)
        position += 8 + length + length % 2
    assert found == {"workflow": WORKFLOW, "prompt": PROMPT}


# the graph, read without torch


def test_reading_a_graph_needs_no_torch(tmp_path):
    path = saved(tmp_path, metadata={"workflow": {"nodes": []}})
    code = (
        "import sys; from spacetime_nodes.media.metadata import read_graph;"
        f"print(read_graph({str(path)!r}), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "{'workflow': {'nodes': []}} False", done.stderr


def test_a_file_without_a_graph_has_none(tmp_path):
    for format in MOVING:
        assert read_graph(saved(tmp_path, format)) == {}


def test_a_graph_that_is_no_json_is_one_clear_line(tmp_path):
    path = saved(tmp_path, metadata={"workflow": '{"nodes": [', "prompt": {"1": {}}})
    with pytest.raises(ValueError, match="the workflow stored in clip.mp4 is no valid JSON"):
        read_graph(path)


def test_the_comment_of_video_helper_suite_is_understood(tmp_path):
    path = saved(tmp_path, metadata={"comment": {"prompt": '{"1": {}}', "workflow": {"nodes": []}}})
    assert read_graph(path) == {"prompt": {"1": {}}, "workflow": {"nodes": []}}
