"""Footage for the tests: noise, whose every pixel would show the least change."""

import torch
from spacetime_nodes.media.video import StreamVideo

RATE = 16  # of the sound, in samples per second: two a frame


def video_of(frames, size=48, fps=8.0, seed=0, sound=False):
    """A VIDEO of noise in 8-bit steps, and its pixels [F, H, W, 3]."""
    pixels = (torch.rand(frames, size, size, 3, generator=torch.Generator().manual_seed(seed)) * 255).round() / 255
    audio = {"waveform": torch.arange(frames * 2.0).expand(1, 2, -1), "sample_rate": RATE} if sound else None
    facts = {"width": size, "height": size, "frame_count": frames, "fps": fps, "audio": audio}
    return StreamVideo(lambda: iter(pixels.split(2)), **facts), pixels
