"""What is saved is whole, exact in colour and size, carries its graph, and never fills the memory."""

import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from spacetime_nodes.media import names
from spacetime_nodes.media.formats import FORMATS
from spacetime_nodes.media.metadata import read_graph
from spacetime_nodes.media.read import open_video
from spacetime_nodes.media.video import FileVideo, StreamVideo
from spacetime_nodes.media.write import to_uint8, write_video
from spacetime_nodes.nodes import media as shelf
from spacetime_nodes.nodes.runtime import HOST, Host, Interrupted

MOVING = [name for name in FORMATS if name != "png sequence"]
WORKFLOW = {"nodes": [{"id": 1, "title": "a brace } and { another, {{ é 日本"}], "links": []}
PROMPT = {"7": {"class_type": "SpacetimeSample", "inputs": {"seed": 41, "text": 'quote " and \\ {'}}}
BARS = torch.tensor(
    [[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1], [0.5, 0.5, 0.5]], dtype=torch.float32
)


def bars(width=128, height=64, frames=9, fps=Fraction(8)) -> StreamVideo:
    """Colour bars above a sliding grey block."""

    def stream():
        for index in range(frames):
            picture = BARS.repeat_interleave(-(-width // 8), 0)[:width].expand(1, height, width, 3).clone()
            picture[:, -10:, index * 2 : index * 2 + 10] = 0.25
            yield picture

    return StreamVideo(stream, width=width, height=height, frame_count=frames, fps=fps)


@pytest.fixture
def notices(tmp_path):
    said = []
    token = HOST.set(Host(base=tmp_path, on_notice=said.append))
    yield said
    HOST.reset(token)


def save(video, prefix="spacetime/clip", format="mp4 (H.264)", quality=80, **hidden) -> Path:
    from spacetime_nodes.nodes.runtime import output_dir

    image = shelf.SpacetimeSaveVideo().run(video, prefix, format, quality, **hidden)["ui"]["images"][0]
    return output_dir() / image["subfolder"] / image["filename"]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# colour and size


@pytest.mark.parametrize("format", MOVING)
def test_colours_survive_saving_and_loading(format, tmp_path):
    path = tmp_path / f"bars{FORMATS[format].suffix}"
    bars().save_to(path, format, quality=95)
    picture = next(open_video(path).frames())[0]
    seen = torch.from_numpy(picture[20, 8::16].astype(np.float32))
    assert (seen - BARS * 255).abs().max() <= 3


@pytest.mark.parametrize("format", ["mp4 (H.264)", "webm (VP9)", "webm (AV1)"])
def test_video_is_bt709_limited_range_and_says_so(format, tmp_path):
    """Against the standard's own numbers, so that two wrong matrices can't cancel."""
    path = tmp_path / f"bars{FORMATS[format].suffix}"
    bars().save_to(path, format, quality=95)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        tags = [int(t) for t in (context.colorspace, context.color_primaries, context.color_trc, context.color_range)]
        frame = next(container.decode(video=0))
    assert tags == [1, 1, 1, 1]
    assert int(frame.colorspace) == 1 and int(frame.color_range) == 1
    depth = 4 if "10" in frame.format.name else 1
    plane = np.frombuffer(frame.planes[0], np.uint16 if depth == 4 else np.uint8)
    row = plane.reshape(frame.height, -1)[20, 8:128:16].astype(float) / depth
    luma = 16 + 219 * (BARS @ torch.tensor([0.2126, 0.7152, 0.0722])).numpy()
    assert np.abs(row - luma).max() <= 2


@pytest.mark.parametrize("format", list(FORMATS))
@pytest.mark.parametrize("size", [(97, 65), (96, 63), (33, 64)])
def test_odd_sizes_keep_every_pixel(format, size, tmp_path, notices):
    width, height = size
    video = bars(width, height)
    path = save(video, format=format, quality=95)
    loaded = FileVideo(path)
    assert loaded.get_dimensions() == size
    picture, source = next(loaded.frames())[0], next(video.frames())[0]
    edge = torch.stack([picture[10, -1] - source[10, -1], picture[0, -1] - source[0, -1]])
    assert edge.abs().max() <= 6 / 255
    assert any("odd" in said for said in notices) == (format == "mp4 (H.264)")


def test_even_sizes_are_420_which_plays_everywhere(tmp_path):
    bars().save_to(tmp_path / "a.mp4")
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_floats_are_rounded_once_halves_up_and_clamped():
    values = torch.tensor([-0.5, 0.0, 0.5 / 255, 1.5 / 255, 0.4999 / 255, 1.0, 7.0, float("inf")])
    picture, broken = to_uint8(values.view(1, 1, -1, 1))
    assert picture.ravel().tolist() == [0, 0, 1, 2, 0, 255, 255, 255] and not broken


def test_nan_frames_are_saved_black_and_said(notices):
    def stream():
        yield torch.full((1, 32, 32, 3), 0.5)
        yield torch.full((2, 32, 32, 3), float("nan"))

    path = save(StreamVideo(stream, width=32, height=32, frame_count=3, fps=8))
    pictures = list(open_video(path).frames())
    assert pictures[0].mean() > 100 and pictures[1].max() <= 2
    assert len(notices) == 1 and "frame 2 holds NaN" in notices[0] and "float32" in notices[0]


# frames, rate, determinism


@pytest.mark.parametrize("format", MOVING)
@pytest.mark.parametrize("fps", [Fraction(8), Fraction(24000, 1001), Fraction(25, 2)])
def test_frame_count_and_rate_are_kept(format, fps, tmp_path):
    path = tmp_path / f"a{FORMATS[format].suffix}"
    bars(64, 48, 17, fps).save_to(path, format)
    facts = open_video(path).facts
    assert facts.frame_count == 17 and not facts.variable
    assert abs(float(facts.fps / fps) - 1) < (0.002 if format in ("gif", "webp") else 1e-9)


@pytest.mark.parametrize("format", list(FORMATS))
def test_the_same_frames_give_the_same_bytes(format, notices):
    first, second = (save(bars(), format=format, extra_pnginfo={"workflow": WORKFLOW}) for _ in range(2))
    assert first != second and first.read_bytes() == second.read_bytes()


_ENCODE = """
import hashlib, io, sys
import numpy as np
from fractions import Fraction
from spacetime_nodes.media.write import write_video
rng = np.random.default_rng(0)
for width, height in (48, 48), (80, 48), (200, 120):
    y, x = np.mgrid[:height, :width]
    grain = rng.normal(size=(height, width, 3)) * 25
    waves = [60 * np.sin(x / 7 + i * 0.4) + 40 * np.cos(y / 9 - i * 0.3) for i in range(17)]
    pictures = [np.clip(128 + w[..., None] + np.roll(grain, i, 1), 0, 255) for i, w in enumerate(waves)]
    file = io.BytesIO()
    chunk = np.stack(pictures).astype(np.uint8)
    write_video(file, [chunk], width=width, height=height, fps=Fraction(8), format=sys.argv[1])
    print(hashlib.md5(file.getvalue()).hexdigest())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="MALLOC_PERTURB_ is glibc's")
@pytest.mark.parametrize("format", ["mp4 (H.264)", "webm (VP9)", "webm (AV1)"])
def test_what_lay_in_memory_before_leaves_no_trace_in_the_file(format):
    files = {
        subprocess.run(
            [sys.executable, "-c", _ENCODE, format], env=os.environ | {"MALLOC_PERTURB_": fill},
            capture_output=True, text=True, check=True,
        ).stdout
        for fill in ("0", "1", "85", "170")
    }  # fmt: skip
    assert len(files) == 1 and files.pop().count("\n") == 3


@pytest.mark.parametrize("format", MOVING)
def test_quality_trades_size(format, tmp_path):
    torch.manual_seed(0)
    noise = torch.rand(6, 64, 64, 3)
    video = StreamVideo(lambda: iter(noise[:, None]), width=64, height=64, frame_count=6, fps=8)
    sizes = []
    for quality in (0, 50, 100):
        path = tmp_path / f"{quality}{FORMATS[format].suffix}"
        video.save_to(path, format, quality=quality)
        sizes.append(path.stat().st_size)
    assert sizes[0] < sizes[1] < sizes[2]


def test_a_gif_faster_than_players_can_show_keeps_its_speed(tmp_path):
    bars(32, 32, 101, Fraction(100)).save_to(tmp_path / "a.gif")
    facts = open_video(tmp_path / "a.gif").facts
    assert facts.fps == 50 and facts.duration == pytest.approx(1.01, abs=0.02)


@pytest.mark.parametrize("format", list(FORMATS))
def test_one_frame_is_a_png_whatever_the_format(format, notices):
    path = save(bars(frames=1), format=format, extra_pnginfo={"workflow": WORKFLOW})
    assert path.name == "clip_00001_.png"
    picture = next(open_video(path).frames())
    assert np.array_equal(picture, to_uint8(next(bars(frames=1).frames()))[0])
    assert read_graph(path) == {"workflow": WORKFLOW}


def test_a_png_sequence_is_a_folder_of_lossless_frames(notices):
    path = save(bars(), format="png sequence", prompt=PROMPT)
    assert files(path.parent) == [f"{n:05}.png" for n in range(1, 10)]
    for number, chunk in enumerate(bars().frames(), 1):
        picture = next(open_video(path.parent / f"{number:05}.png").frames())
        assert np.array_equal(picture, to_uint8(chunk)[0])
        assert read_graph(path.parent / f"{number:05}.png") == {"prompt": PROMPT}


@pytest.mark.parametrize("format,layout", [("mp4 (H.264)", 2), ("webm (VP9)", 1)])
def test_sound_is_kept_beside_the_pictures(format, layout, notices):
    time_axis = torch.arange(44100 * 2) / 44100
    audio = {"waveform": torch.sin(440 * 2 * np.pi * time_axis).expand(1, layout, -1) / 2, "sample_rate": 44100}
    video = bars(frames=16)
    video.audio = audio
    loaded = FileVideo(save(video, format=format))
    waveform = loaded.get_audio()["waveform"]
    assert loaded.facts.has_audio and waveform.shape[:2] == (1, layout)
    assert waveform.shape[2] / loaded.get_audio()["sample_rate"] == pytest.approx(2, abs=0.06)
    spectrum = np.abs(np.fft.rfft(waveform[0, 0].numpy()))
    assert spectrum.argmax() * loaded.get_audio()["sample_rate"] / waveform.shape[2] == pytest.approx(440, abs=2)


def test_sound_that_a_gif_cannot_carry_is_said(notices):
    video = bars()
    video.audio = {"waveform": torch.zeros(1, 1, 800), "sample_rate": 800}
    save(video, format="gif")
    assert "no sound" in notices[0]


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


# whole or not at all


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


def run_python(code: str, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], capture_output=True, text=True, **options
    )


NOISE = """
import sys, resource, torch
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.nodes.media import SpacetimeSaveVideo
from spacetime_nodes.nodes.runtime import HOST, Host
from pathlib import Path
base, format, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
HOST.set(Host(base=base))
torch.manual_seed(0)
noise = torch.rand(4, 1, 128, 128, 3)
def stream():
    for index in range(count):
        yield noise[index % 4]
video = StreamVideo(stream, width=128, height=128, frame_count=count, fps=24)
save = lambda: SpacetimeSaveVideo().run(video, "clip", format, 90, extra_pnginfo={"workflow": {}})
"""


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


# names


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


def test_a_format_that_is_none_is_refused_with_the_choices(notices):
    with pytest.raises(ValueError, match="mp4 \\(H.264\\).*png sequence"):
        save(bars(), format="mpeg")


@pytest.mark.parametrize("size,format", [((16, 128), "webm (AV1)"), ((16400, 2), "mp4 (H.264)"), ((16400, 2), "webp")])
def test_a_size_the_codec_cannot_do_is_one_clear_line(size, format, tmp_path, notices):
    """SVT-AV1 waits for ever on a strip of 16×128."""
    video = StreamVideo(
        lambda: iter([torch.zeros(2, *size[::-1], 3)]), width=size[0], height=size[1], frame_count=2, fps=8
    )
    with pytest.raises(ValueError, match="AV1 takes no side below 32|can't hold a video of 16400×2") as error:
        save(video, format=format)
    assert "\n" not in str(error.value) and files(tmp_path) == []


def test_frames_of_another_size_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"frames of shape \(1, 9, 8, 3\); \[n, 8, 8, 3\]"):
        write_video(tmp_path / "a.mp4", iter([torch.zeros(1, 9, 8, 3)]), width=8, height=8, fps=Fraction(8))
    with pytest.raises(ValueError, match="no frames"):
        write_video(tmp_path / "a.mp4", iter([]), width=8, height=8, fps=Fraction(8))
    assert files(tmp_path) == []


# memory


@pytest.mark.parametrize("format", list(FORMATS))
def test_ten_times_the_frames_take_no_more_memory(format, tmp_path):
    code = NOISE.replace("128", "96") + "noise[:] = torch.linspace(0, 1, 96)[:, None]\n"  # smooth: quick to encode
    code += "save()\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    peaks = []
    for count in (200, 2000):  # 2000 frames are 55 MB even as bytes
        done = run_python(code, tmp_path, format, count)
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < 1.1 * peaks[0], peaks
