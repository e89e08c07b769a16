"""A file appears whole or not at all, whatever happens while it is written."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from spacetime_nodes.media.formats import FORMATS
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.nodes.runtime import HOST, Host, Interrupted

from .conftest import NOISE, WORKFLOW, bars, files, run_python, save


class Broken(Exception):
    pass


@pytest.mark.parametrize("format", list(FORMATS))
@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt, MemoryError, Broken])
def test_nothing_is_left_when_the_frames_stop_coming(format, error, tmp_path, notices):
    def stream():
        for index, chunk in enumerate(bars().frames()):
            if index == 5:
                raise error("stop")
            yield chunk

    with pytest.raises(error):
        save(StreamVideo(stream, width=128, height=64, frame_count=9, fps=8), format=format)
    assert files(tmp_path) == []


def test_cancelling_stops_within_a_frame_and_progress_counts_each(tmp_path):
    seen, pulled = [], []

    def stream():
        for index, chunk in enumerate(bars().frames()):
            pulled.append(index)
            yield chunk

    host = Host(
        base=tmp_path,
        on_progress=lambda value, total, _: seen.append((value, total)),
        is_interrupted=lambda: len(seen) > 3,
    )
    token = HOST.set(host)
    try:
        with pytest.raises(Interrupted):
            save(StreamVideo(stream, width=128, height=64, frame_count=9, fps=8))
    finally:
        HOST.reset(token)
    assert seen == [(1, 9), (2, 9), (3, 9), (4, 9)] and len(pulled) == 5
    assert files(tmp_path) == []


@pytest.mark.parametrize("format", list(FORMATS))
@pytest.mark.parametrize("limit", [0, 5_000, 60_000])
def test_a_full_disk_leaves_no_file_and_one_clear_line(format, limit, tmp_path):
    if format == "png sequence" and limit > 50_000:
        limit = 20_000  # the limit holds for each file
    code = NOISE + "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[4]),) * 2)\n"
    code += "try: save()\nexcept OSError as error: print(error)\n"
    done = run_python(code, tmp_path, format, 40, limit)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"can't save to .*(File too large|No space left).*make room.*\n", done.stdout)
    assert ".part" not in done.stdout
    assert files(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_device_is_one_clear_line():
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match="can't save .*No space left"):
        bars().save_to(full, "webm (VP9)")


@pytest.mark.parametrize("format", ["mp4 (H.264)", "gif", "png sequence"])
def test_killed_in_the_middle_no_half_file_stands_under_the_name(format, tmp_path):
    code = NOISE + "print('go', flush=True)\nsave()\n"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), format, "100000"], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    output = tmp_path / "output"
    deadline = time.monotonic() + 60
    while not files(output) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(name.startswith(".") and ".part" in name for name in files(output)), files(output)
    assert files(output)


def test_an_existing_file_survives_a_failed_overwrite(tmp_path):
    path = tmp_path / "mine.mp4"
    bars().save_to(path)
    before = path.read_bytes()

    def stream():
        yield next(bars().frames())
        raise Broken

    with pytest.raises(Broken):
        StreamVideo(stream, width=128, height=64, frame_count=9, fps=8).save_to(path)
    assert path.read_bytes() == before and files(tmp_path) == ["mine.mp4"]


@pytest.mark.parametrize("format", ["mp4 (H.264)", "gif", "webp", "png sequence"])
def test_file_mode_honours_the_umask(format, notices):
    before = os.umask(0o027)
    try:
        path = save(bars(), format=format, extra_pnginfo={"workflow": WORKFLOW})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640
    if format == "png sequence":
        assert path.parent.stat().st_mode & 0o777 == 0o750


def test_a_file_where_the_folder_should_be_is_one_clear_line(tmp_path, notices):
    (tmp_path / "output").write_text("")
    with pytest.raises(OSError, match="can't save to .*output.* a file stands where a folder should be"):
        save(bars())


def test_a_read_only_folder_is_one_clear_line(tmp_path, notices):
    (tmp_path / "output" / "spacetime").mkdir(parents=True)
    for folder in (tmp_path / "output" / "spacetime", tmp_path / "output"):
        folder.chmod(0o555)
    root = os.geteuid() == 0
    for parent in [tmp_path, *tmp_path.parents][:3] if root else ():
        parent.chmod(parent.stat().st_mode | 0o055)
    try:
        if root:  # root may write anywhere
            os.seteuid(65534)
        with pytest.raises(OSError, match="no permission to write there; choose another output folder"):
            save(bars())
    finally:
        if root:
            os.seteuid(0)
        (tmp_path / "output" / "spacetime").chmod(0o755)
        (tmp_path / "output").chmod(0o755)
    assert files(tmp_path) == []
