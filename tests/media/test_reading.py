"""Whatever video is given: its frames as a player shows them."""

import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from spacetime_nodes.media.metadata import read_graph
from spacetime_nodes.media.read import open_video
from spacetime_nodes.media.video import FileVideo, StreamVideo, as_stream
from spacetime_nodes.media.write import to_uint8

from .conftest import MOVING, counter, numbers, saved


def with_timestamps(path: Path, ticks: list[int], rate=1000) -> Path:
    """An mp4 whose frame k (brightness 10·k) is shown at ticks[k]/rate seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        for index, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), index * 10, np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# frames and facts


@pytest.mark.parametrize("format", MOVING)
def test_every_frame_comes_back_in_order(format, tmp_path):
    video = open_video(saved(tmp_path, format))
    assert numbers(video.frames()) == list(range(24))
    assert video.facts.frame_count == 24 and video.facts.fps == 24 and video.facts.duration == 1
    assert (video.facts.width, video.facts.height, video.facts.rotation) == (64, 48, 0)
    assert not (video.facts.has_audio or video.facts.hdr or video.facts.variable)


@pytest.mark.parametrize("format", MOVING)
def test_one_frame_is_a_video_too(format, tmp_path):
    video = FileVideo(saved(tmp_path, format, counter(1)))
    assert video.get_frame_count() == 1 and len(list(video.frames())) == 1
    assert video.get_components().images.shape == (1, 48, 64, 3)


@pytest.mark.parametrize("format", MOVING)
@pytest.mark.parametrize(
    "fps,expected", [(8, list(range(0, 24, 3))), (48, [k // 2 for k in range(48)]), (12, list(range(0, 24, 2)))]
)
def test_another_rate_shows_what_a_player_would_show_then(format, fps, expected, tmp_path):
    video = FileVideo(saved(tmp_path, format), fps=fps)
    assert video.get_frame_count() == len(expected) and video.get_frame_rate() == fps
    assert numbers(video.frames()) == expected


def test_variable_frame_rate_becomes_even_and_is_said(tmp_path):
    """Frames of 100, 100, 400 and 100 ms: the long one is shown four times."""
    path = with_timestamps(tmp_path / "vfr.mp4", [0, 100, 200, 600, 700, 800])
    video = open_video(path)
    assert video.facts.variable
    assert numbers(video.frames(fps=Fraction(10)))[:9] == [0, 1, 2, 2, 2, 2, 3, 4, 5]
    count = video.facts.frame_count
    assert count == len(list(video.frames())) == FileVideo(path).get_frame_count()
    assert count / video.facts.fps == pytest.approx(float(video.facts.duration), abs=0.1)


def test_footage_on_no_grid_at_all_gets_its_average_rate(tmp_path):
    """A phone's: each frame is shown when its time has come, at a constant rate, none before."""
    ticks = [0, 37, 120, 333, 350, 512, 700, 801, 900, 1050]
    video = open_video(with_timestamps(tmp_path / "phone.mp4", ticks))
    rate = video.facts.fps
    assert video.facts.variable and float(rate) == pytest.approx(len(ticks) / 1.1, rel=0.1)
    due = [
        max(k for k, tick in enumerate(ticks) if tick <= i * 1000 / rate + 1) for i in range(video.facts.frame_count)
    ]
    assert numbers(video.frames()) == due


def test_held_frames_are_repeated_on_the_grid_they_stand_on(tmp_path):
    """A webp stores equal neighbours once, for longer."""
    still = [0, 1, 2, 2, 2, 2, 3, 4, 4, 5, 7, 7]
    video = StreamVideo(
        lambda: (torch.full((1, 48, 64, 3), k * 10 / 255) for k in still), width=64, height=48, frame_count=12, fps=24
    )
    loaded = FileVideo(saved(tmp_path, "webp", video))
    assert loaded.get_frame_rate() == 24 and numbers(loaded.frames()) == still


def test_timestamps_rounded_to_milliseconds_are_still_an_even_rate(tmp_path):
    path = with_timestamps(tmp_path / "ms.mp4", [round(k * 1001 / 24) for k in range(20)])
    facts = open_video(path).facts
    assert not facts.variable and facts.fps == Fraction(24000, 1001) and facts.frame_count == 20
    assert numbers(open_video(path).frames()) == list(range(20))


@pytest.mark.parametrize(("shape", "width"), [(Fraction(3, 2), 96), (Fraction(1, 2), 32), (Fraction(1, 9), 64)])
def test_anamorphic_footage_is_as_wide_as_a_player_shows_it(shape, width, tmp_path):
    """Pixels that aren't square are made square; nine times as high as wide are nobody's."""
    with av.open(str(tmp_path / "wide.mp4"), "w") as file:
        stream = file.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.sample_aspect_ratio = shape
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:, :32] = 255
        frames = [av.VideoFrame.from_ndarray(picture, format="rgb24")] * 3
        for packet in (*(packet for frame in frames for packet in stream.encode(frame)), *stream.encode()):
            file.mux(packet)
    video = open_video(tmp_path / "wide.mp4")
    shown = next(video.frames())[0]
    assert (video.facts.width, video.facts.height) == (width, 48) and shown.shape == (48, width, 3)
    assert shown[:, : width // 2 - 4].min() > 240 and shown[:, width // 2 + 4 :].max() < 15


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_phone_video_stands_upright(turns, tmp_path):
    """The track header's matrix says how a player turns it."""
    picture = torch.zeros(1, 48, 64, 3)
    picture[:, :24, :32] = 1  # white top left
    path = saved(tmp_path, video=StreamVideo(lambda: iter([picture] * 3), width=64, height=48, frame_count=3, fps=8))
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 16
    cos, sin = {1: (0, 1), 2: (-1, 0), 3: (0, -1)}[turns]
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", cos * one, sin * one, 0, -sin * one, cos * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    video = open_video(path)
    shown = next(video.frames())[0]
    assert shown.shape[:2] == (video.facts.height, video.facts.width) == ((64, 48) if turns % 2 else (48, 64))
    upright = np.rot90(picture[0, ..., 0].numpy(), -turns)  # the matrix turns clockwise
    assert np.abs(shown[..., 0] / 255 - upright).mean() < 0.02


@pytest.mark.parametrize("transfer,white", [(16, 0.58), (18, 0.75)])
def test_hdr_is_flagged_and_brought_to_ordinary_brightness(transfer, white, tmp_path):
    """Graphics white (203 cd/m²: 58 % PQ, 75 % HLG, ITU-R BT.2408) must come out bright, black black, grey grey."""
    path = tmp_path / "hdr.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libsvtav1", rate=8, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 9, 9, transfer, 1
        luma = np.full((64, 64), 64, np.uint16)
        luma[:, 32:] = round(64 + 876 * white)
        frame = av.VideoFrame(64, 64, "yuv420p10le")
        for plane, part in zip(frame.planes, (luma, luma * 0 + 512, luma * 0 + 512), strict=True):
            rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
            rows[:, : plane.width] = part[: plane.height, : plane.width]
            plane.update(rows.tobytes())
        for _ in range(2):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    video = open_video(path)
    picture = next(video.frames())[0]
    assert video.facts.hdr
    assert picture[:, :24].max() <= 4
    bright = picture[:, 40:].reshape(-1, 3).mean(0)
    assert 150 < bright.mean() < 240 and np.ptp(bright) <= 4


def test_untagged_files_are_read_as_players_show_them(tmp_path):
    """No tag: BT.601 for small pictures."""
    path = tmp_path / "untagged.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8, options={"crf": "2"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        planes = np.full((96, 64), 0, np.uint8)
        planes[:64], planes[64:80], planes[80:] = 81, 90, 240  # BT.601 red
        container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode(None))
    assert np.abs(next(open_video(path).frames())[0, 32, 32].astype(int) - [255, 0, 0]).max() <= 4


def test_transparent_pixels_stand_on_black(tmp_path):
    from PIL import Image

    clear = np.full((16, 16, 4), (200, 100, 50, 0), np.uint8)
    Image.fromarray(clear).save(tmp_path / "a.png")
    assert next(open_video(tmp_path / "a.png").frames()).max() == 0
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=8)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgba"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(clear, format="rgba")))
        container.mux(stream.encode(None))
    assert next(open_video(tmp_path / "a.mov").frames()).max() == 0


# VIDEO over a file


@pytest.mark.parametrize("format", ["mp4 (H.264)", "webm (VP9)", "gif"])
def test_a_trimmed_file_shows_the_same_frames(format, tmp_path):
    video = FileVideo(saved(tmp_path, format))
    whole = video.get_components().images
    part = video.as_trimmed(0.5, 0.25)
    assert part.get_frame_count() == 6 and torch.equal(part.get_components().images, whole[12:18])
    assert torch.equal(part.as_trimmed(0.125).get_components().images, whole[15:18])
    assert torch.equal(video.as_trimmed(-0.25).get_components().images, whole[18:])
    assert video.as_trimmed(5.0) is None and video.as_trimmed(0.5, 1.0, strict_duration=True) is None


def test_a_long_file_is_sought_not_decoded_from_its_start(tmp_path):
    def stream():
        for index in range(600):
            yield torch.full((1, 48, 64, 3), index % 250 / 255)

    video = FileVideo(saved(tmp_path, video=StreamVideo(stream, width=64, height=48, frame_count=600, fps=24)))
    decoded = [index for index, _ in video.file.reader._decoded(590)]
    assert decoded[0] > 300 and decoded[-1] == 599
    expected = list(video.file.frames())[590:]
    assert np.array_equal(np.concatenate(list(video.file.frames(first=590))), np.concatenate(expected))


def test_video_answers_all_that_comfyui_asks(tmp_path):
    video = FileVideo(saved(tmp_path))
    assert video.get_dimensions() == (64, 48)
    assert video.get_duration() == 1.0 and video.get_frame_count() == 24 and video.get_frame_rate() == 24
    assert "mp4" in video.get_container_format() and video.get_stream_source() == str(tmp_path / "clip.mp4")
    assert (video.get_bit_depth(), video.get_color_space(), video.get_active_trim_window()) == (8, "sRGB", (0.0, 0.0))
    components = video.get_components()
    assert components.images.dtype == torch.float32 and 0 <= components.images.min() <= components.images.max() <= 1
    assert components.frame_rate == 24 and components.audio is None
    video.save_to(
        tmp_path / "copy.mp4", "auto", "auto", {"workflow": {"a": 1}}, bit_depth=8, crf=20, color_space="sRGB"
    )
    assert read_graph(tmp_path / "copy.mp4") == {"workflow": {"a": 1}}
    noise = torch.rand(1, 48, 64, 3)
    crop = StreamVideo(lambda: iter([noise]), width=64, height=48, frame_count=1, fps=8).as_cropped(11, 8, 20, 21)
    assert crop.get_dimensions() == (20, 20) and torch.equal(next(crop.frames()), noise[:, 8:28, 10:30])
    with av.open(counter().get_stream_source()) as container:
        assert sum(1 for _ in container.decode(video=0)) == 24
    with pytest.raises(ValueError, match="can't write h265 video into mp4"):
        video.save_to(tmp_path / "x.mp4", "mp4", "h265")


def test_other_packs_videos_are_taken_as_they_are():
    class Theirs:
        def get_components(self):
            return counter(5).get_components()

    assert numbers(as_stream(Theirs()).frames()) == [0, 1, 2, 3, 4]


def test_reading_ten_times_the_frames_takes_no_more_memory(tmp_path):
    code = """
import sys, resource, torch
from spacetime_nodes.media.video import FileVideo
total = sum(int(chunk.shape[0]) for chunk in FileVideo(sys.argv[1]).frames())
print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = []
    for count in (150, 1500):
        path = saved(tmp_path, video=counter(count, 128, 96))
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
        total, peak = done.stdout.split()
        assert int(total) == count, done.stderr
        peaks.append(int(peak))
    assert peaks[1] < 1.1 * peaks[0], peaks


def test_saving_what_was_read_does_not_shift_colours(tmp_path):
    """The known disease: a little darker or redder with each load and save."""
    torch.manual_seed(0)
    colours = torch.rand(6, 8, 3).repeat_interleave(32, 0).repeat_interleave(32, 1)[None]
    source = StreamVideo(lambda: iter([colours] * 4), width=256, height=192, frame_count=4, fps=8)
    path = saved(tmp_path, video=source)
    for generation in range(5):
        again = tmp_path / f"{generation}.mp4"
        FileVideo(path).save_to(again, quality=95)
        path = again
    first, last = to_uint8(colours)[0][0, 16::32, 16::32], next(open_video(path).frames())[0, 16::32, 16::32]
    difference = last.astype(float) - first
    assert np.abs(difference).max() <= 3 and np.abs(difference.mean((0, 1))).max() < 0.5
