"""Broken and hostile files: one clear line, whatever they are."""

import os
import re
import struct
import zlib

import av
import numpy as np
import pytest
import torch
from spacetime_nodes.media.read import open_video
from spacetime_nodes.media.sniff import MediaError
from spacetime_nodes.media.video import StreamVideo

from .conftest import MOVING, refused, saved


def test_zero_bytes(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    assert "a.mp4 is empty (0 bytes)" in refused(tmp_path / "a.mp4")


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
    assert re.search(r"clip\.\w+ (is cut short|is damaged|can't be read|holds)", refused(path))


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
    assert "holds no video bytes; mp4, mov" in refused(path)


@pytest.mark.parametrize("format", MOVING)
def test_random_bytes_behind_a_true_beginning(format, tmp_path):
    path = saved(tmp_path, format)
    path.write_bytes(path.read_bytes()[:40] + np.random.default_rng(2).bytes(20_000))
    assert re.search(r"clip\.\w+ ", refused(path))


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
    assert "is damaged" in refused(path)


@pytest.mark.parametrize("container,codec", [("mp4", "aac"), ("webm", "libopus")])
def test_audio_only(container, codec, tmp_path):
    path = tmp_path / f"a.{container}"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 48000
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert "holds sound but no picture" in refused(path)


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
    assert "is an address, not a file" in refused(name)


def test_a_name_that_only_looks_like_a_protocol_is_read_as_the_file_it_is(tmp_path, monkeypatch):
    saved(tmp_path).rename(tmp_path / "concat:a|b.mp4")
    monkeypatch.chdir(tmp_path)
    assert open_video("concat:a|b.mp4").facts.frame_count == 24


@pytest.mark.parametrize("name", ["missing.mp4", "no/such/folder.mp4", "x" * 300 + ".mp4", "nul\0.mp4", "."])
def test_no_such_file(name, tmp_path):
    assert re.search("there is no file|can't open|NUL|is a folder", refused(str(tmp_path / name)))


def test_a_device_or_pipe_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "is a device" in refused(tmp_path / "pipe.mp4")
    assert "is a device" in refused("/dev/zero")


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
    assert what in refused(tmp_path / "a.mp4")


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
    assert re.search("claims|too large", refused(tmp_path / "bomb.png"))


def test_a_gif_bomb_is_refused_by_its_size(tmp_path):
    path = saved(tmp_path, "gif")
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<HH", 60_000, 60_000)
    path.write_bytes(data)
    assert re.search("claims|too large", refused(path))


@pytest.mark.parametrize("format", MOVING)
def test_a_video_larger_than_the_limit_is_refused(format, tmp_path, monkeypatch):
    path = saved(tmp_path, format)
    monkeypatch.setattr("spacetime_nodes.media.sniff.MAX_SIDE", 63)
    assert "claims 64×48 pixels; at most 63 a side" in refused(path)
