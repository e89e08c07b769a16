"""What is saved is exact in colour and size, keeps its frames, rate and sound, and never fills the memory."""

import os
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from spacetime_nodes.media.formats import FORMATS
from spacetime_nodes.media.metadata import read_graph
from spacetime_nodes.media.read import open_video
from spacetime_nodes.media.video import FileVideo, StreamVideo
from spacetime_nodes.media.write import to_uint8, write_video

from .conftest import BARS, MOVING, NOISE, PROMPT, WORKFLOW, bars, files, run_python, save

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
