"""The name that a result gets: the next free number, never somebody else's, never outside of the folder."""

import os
import threading
import time

import pytest
from spacetime_nodes.media import names
from spacetime_nodes.media.read import open_video
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.nodes.runtime import HOST, Host

from .conftest import bars, files, save


def test_windows_signs_are_refused_before_anything_is_computed_there(monkeypatch):
    names.check_prefix("day:night")  # fine elsewhere
    monkeypatch.setattr(names, "WINDOWS", True)
    with pytest.raises(ValueError, match="holds ':', which Windows allows in no name"):
        names.check_prefix("day:night")
    with pytest.raises(ValueError, match=r"holds '\?'"):
        names.check_prefix("why?/clip")
    names.check_prefix("clips/%date:hh-mm%")


def test_numbers_go_on_where_the_folder_stands(notices, tmp_path):
    folder = tmp_path / "output" / "spacetime"
    folder.mkdir(parents=True)
    for name in ("clip_00007_.png", "clip_00003_.mp4", "clip_other_00050_.mp4", "clip_x.mp4"):
        (folder / name).write_text("")
    assert save(bars()).name == "clip_00008_.mp4"
    assert save(bars(), format="png sequence").parent.name == "clip_00009_"
    assert save(bars(), format="gif").name == "clip_00010_.gif"


@pytest.mark.parametrize("format", ["gif", "png sequence"])
def test_two_runs_into_one_folder_never_share_a_name(format, tmp_path):
    saved, lock = [], threading.Lock()

    def work(index):
        HOST.set(Host(base=tmp_path))
        for _ in range(4):
            path = save(bars(16 + 2 * index, 16, 3), format=format)
            with lock:
                saved.append((path, 16 + 2 * index))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path for path, _ in saved}) == 16
    assert all(open_video(path).facts.width == width for path, width in saved)


def test_a_name_taken_while_encoding_is_not_overwritten(tmp_path, notices):
    rival = tmp_path / "output" / "clip_00001_.mp4"

    def stream():
        yield from bars().frames()
        rival.write_text("theirs")

    path = save(StreamVideo(stream, width=128, height=64, frame_count=9, fps=8), "clip")
    assert path.name == "clip_00002_.mp4" and rival.read_text() == "theirs"


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("links", [True, False])
def test_a_name_taken_between_counting_and_renaming_is_not_overwritten(folder, links, tmp_path, monkeypatch):
    monkeypatch.setattr(names, "_next_number", lambda folder, stem: 1)  # what a run sees that counted a moment ago
    if not links:  # exFAT, some network drives

        def refuse(*paths):
            raise PermissionError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    suffix = "" if folder else ".mp4"
    rival = tmp_path / f"clip_00001_{suffix}"
    if folder:
        rival.mkdir()
    inner = rival / "00001.png" if folder else rival
    inner.write_text("theirs")
    with names.whole(tmp_path / "clip", folder=folder) as temporary:
        (temporary / "00001.png" if folder else temporary).write_text("ours")
        path = names.publish_numbered(temporary, tmp_path, "clip", suffix)
    assert inner.read_text() == "theirs" and path.name == f"clip_00002_{suffix}"
    assert (path / "00001.png" if folder else path).read_text() == "ours"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize(
    "prefix,why",
    [
        ("../clip", "leads out"),
        ("a/../../clip", "leads out"),
        ("a\\..\\..\\clip", "leads out"),
        ("..", "leads out"),
        ("/etc/clip", "absolute"),
        ("\\\\server\\share", "absolute"),
        ("C:\\clip", "absolute"),
        ("clip\r\nSet-Cookie: x", "line break"),
        ("clip\0", "control"),
        ("x" * 300, "too long"),
        ("é" * 150, "too long"),
        ("", "empty"),
        (" / ", "empty"),
        ("%SpacetimeSample.path%", "leads out"),
    ],
)
def test_a_hostile_prefix_is_refused_before_any_frame_is_made(prefix, why, tmp_path, notices):
    def stream():
        raise AssertionError("decoded before the name was checked")
        yield

    prompt = {"1": {"class_type": "SpacetimeSample", "inputs": {"path": ".."}}}
    with pytest.raises(ValueError, match=why) as error:
        save(StreamVideo(stream, width=8, height=8, frame_count=2, fps=8), prefix, prompt=prompt)
    assert "\n" not in str(error.value) and "\r" not in str(error.value)
    assert files(tmp_path) == []


def test_tokens_are_filled_as_in_comfyui(notices):
    prompt = {
        "3": {"class_type": "SpacetimeSample", "_meta": {"title": "Mine"}, "inputs": {"seed": 41, "name": "a/b:c"}}
    }
    filled = names.fill_tokens("%width%x%height%/%Mine.seed%_%SpacetimeSample.name%_%nothing.here%", 640, 360, prompt)
    assert filled == "640x360/41_a_b_c_%nothing.here%"
    now = time.localtime()
    assert names.fill_tokens("%year%-%month%", 1, 1) == time.strftime("%Y-%m", now)
    assert names.fill_tokens("%date:yyyy-MM-dd%", 1, 1) == time.strftime("%Y-%m-%d", now)
    assert names.fill_tokens("%date:d.M.yy%", 1, 1) == f"{now.tm_mday}.{now.tm_mon}.{now.tm_year % 100:02}"
    assert names.fill_tokens("100%", 1, 1) == "100%"
