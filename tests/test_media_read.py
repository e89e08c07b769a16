"""Whatever file is given: its frames as a player shows them, or one clear line."""

import os
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from spacetime_nodes.media.formats import FORMATS
from spacetime_nodes.media.metadata import read_graph
from spacetime_nodes.media.read import open_video
from spacetime_nodes.media.sniff import MediaError
from spacetime_nodes.media.video import FileVideo, StreamVideo, as_stream
from spacetime_nodes.media.write import to_uint8

MOVING = [name for name in FORMATS if name != "png sequence"]


def counter(frames=24, width=64, height=48, fps=Fraction(24)) -> StreamVideo:
    """Frame k is grey of brightness 10·k, so a picture tells its number."""

    def stream():
        for index in range(frames):
            yield torch.full((1, height, width, 3), index * 10 / 255)

    return StreamVideo(stream, width=width, height=height, frame_count=frames, fps=fps)


def numbers(chunks) -> list[int]:
    return [
        round(float(torch.as_tensor(chunk).float().mean()) * (1 if chunk.dtype == np.uint8 else 255) / 10)
        for chunk in chunks
    ]


def saved(tmp_path, format="mp4 (H.264)", video=None, **options) -> Path:
    path = tmp_path / f"clip{FORMATS[format].suffix}"
    (video or counter()).save_to(path, format, quality=95, **options)
    return path


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


def refused(path, match: str) -> str:
    with pytest.raises((MediaError, FileNotFoundError), match=match) as error:
        for _ in open_video(path).frames():
            pass
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    return str(error.value)


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


# broken and hostile files


def test_zero_bytes(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    assert "a.mp4 is empty (0 bytes)" in refused(tmp_path / "a.mp4", "empty")


@pytest.mark.parametrize("format", [*MOVING, "png sequence"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.97])
def test_truncated(format, part, tmp_path):
    if format == "png sequence":
        from PIL import Image

        path = tmp_path / "clip.png"
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    else:
        torch.manual_seed(0)
        noise = torch.rand(12, 1, 48, 64, 3)
        path = saved(tmp_path, format, StreamVideo(lambda: iter(noise), width=64, height=48, frame_count=12, fps=8))
    data = path.read_bytes()
    path.write_bytes(data[: max(int(len(data) * part), 20)])
    refused(path, r"clip\.\w+ (is cut short|is damaged|can't be read|holds)")


@pytest.mark.parametrize("format", ["mp4 (H.264)", "webm (VP9)", "webp"])
def test_half_a_download_is_refused_when_it_is_opened(format, tmp_path):
    """Not an hour later, where the frames end."""
    path = saved(tmp_path, format)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(MediaError, match="is cut short"):
        open_video(path)


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".png"])
def test_random_bytes(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(np.random.default_rng(1).bytes(20_000))
    refused(path, "holds no video bytes; mp4, mov")


@pytest.mark.parametrize("format", MOVING)
def test_random_bytes_behind_a_true_beginning(format, tmp_path):
    path = saved(tmp_path, format)
    path.write_bytes(path.read_bytes()[:40] + np.random.default_rng(2).bytes(20_000))
    refused(path, r"clip\.\w+ ")


@pytest.mark.parametrize("format", ["mp4 (H.264)", "webm (VP9)"])
def test_pictures_damaged_in_the_middle_are_told_with_the_frame(format, tmp_path):
    """The container is whole, the codec's data isn't."""
    noise = torch.rand(12, 1, 48, 64, 3, generator=torch.Generator().manual_seed(0))
    path = saved(tmp_path, format, StreamVideo(lambda: iter(noise), width=64, height=48, frame_count=12, fps=8))
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets[5:]:
        start = data.index(b"", position) + 16 if format.startswith("webm") else position
        data[start : position + size] = b"\xff" * (position + size - start)
    path.write_bytes(data)
    refused(path, r"is damaged")


@pytest.mark.parametrize("container,codec", [("mp4", "aac"), ("webm", "libopus")])
def test_audio_only(container, codec, tmp_path):
    path = tmp_path / f"a.{container}"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    refused(path, "holds sound but no picture")


@pytest.mark.parametrize(
    "name",
    [
        "http://127.0.0.1:9/a.mp4",
        "https://example.com/a.mp4",
        "file:///etc/passwd",
        "concat:a.mp4|b.mp4",
        "rtsp://x/y",
        "pipe:0",
        "data:video/mp4;base64,AAAA",
        "subfile,,start,0,end,9,,:/etc/passwd",
    ],
)
def test_an_address_is_no_file(name):
    refused(name, "is an address, not a file")


def test_a_name_that_only_looks_like_a_protocol_is_read_as_the_file_it_is(tmp_path, monkeypatch):
    saved(tmp_path).rename(tmp_path / "concat:a|b.mp4")
    monkeypatch.chdir(tmp_path)
    assert open_video("concat:a|b.mp4").facts.frame_count == 24


@pytest.mark.parametrize("name", ["missing.mp4", "no/such/folder.mp4", "x" * 300 + ".mp4", "nul\0.mp4", "."])
def test_no_such_file(name, tmp_path):
    refused(str(tmp_path / name), "there is no file|can't open|NUL|is a folder")


def test_a_device_or_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    refused(tmp_path / "pipe.mp4", "is a device")
    refused("/dev/zero", "is a device")


@pytest.mark.parametrize(
    "text,what",
    [
        ("#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "playlist"),
        ("ffconcat version 1.0\nfile '/etc/passwd'\n", "ffconcat list"),
        ("<!DOCTYPE html><html>404</html>", "web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS pointer"),
    ],
)
def test_lists_of_other_files_called_mp4_are_not_followed(text, what, tmp_path):
    (tmp_path / "a.mp4").write_text(text)
    refused(tmp_path / "a.mp4", what)


def test_a_matroska_or_mp4_name_does_not_choose_the_reader(tmp_path):
    path = saved(tmp_path, "webm (VP9)").rename(tmp_path / "really_webm.mp4")
    assert open_video(path).facts.container == "matroska,webm"


def png_of(width, height) -> bytes:
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 10_000_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60_000), (20_000, 8), (12_000, 12_000)])
def test_a_decompression_bomb_is_refused_by_its_size(size, tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_of(*size))
    refused(tmp_path / "bomb.png", "claims|too large")


def test_a_gif_bomb_is_refused_by_its_size(tmp_path):
    path = saved(tmp_path, "gif")
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<HH", 60_000, 60_000)
    path.write_bytes(data)
    refused(path, "claims|too large")


@pytest.mark.parametrize("format", MOVING)
def test_a_video_larger_than_the_limit_is_refused(format, tmp_path, monkeypatch):
    path = saved(tmp_path, format)
    monkeypatch.setattr("spacetime_nodes.media.sniff.MAX_SIDE", 63)
    refused(path, "claims 64×48 pixels; at most 63 a side")


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
