"""Sound as ComfyUI passes it on: {"waveform": [1, channels, samples] in -1..1, "sample_rate": samples a second}."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate


def cut(sound: dict | None, start: Fraction, end: Fraction) -> dict | None:
    """From one second up to another; None where there is no sound then."""
    if sound is None:
        return None
    rate = sound["sample_rate"]
    waveform = sound["waveform"][..., round(start * rate) : round(end * rate)]
    return {**sound, "waveform": waveform} if waveform.shape[-1] else None


def joined(sounds: Sequence[dict | None], seconds: Sequence[Fraction]) -> dict | None:
    """One after another, each cut or filled up with silence to so many seconds, in mono or stereo at the highest of
    their sample rates. None stands for silence; of nothing else there is no sound."""
    import torch

    given = [sound for sound in sounds if sound is not None]
    if not given:
        return None
    rate = max(sound["sample_rate"] for sound in given)
    channels = min(max(sound["waveform"].shape[1] for sound in given), 2)
    begin, ends = 0, [round(end * rate) for end in accumulate(seconds)]
    waveform = torch.zeros(1, channels, ends[-1])
    for sound, end in zip(sounds, ends, strict=True):
        if sound is not None:
            piece = _at_rate(sound, rate)[:1, :channels, : end - begin]  # one channel is heard on both
            waveform[..., begin : begin + piece.shape[2]] = piece
        begin = end
    return {"waveform": waveform, "sample_rate": rate}


def _at_rate(sound: dict, rate: int):
    """The waveform at another sample rate."""
    import av
    import torch

    waveform = sound["waveform"].detach().cpu().float()
    if sound["sample_rate"] == rate or not waveform.shape[2]:
        return waveform
    channels = []
    for channel in waveform[0].contiguous().numpy():
        frame = av.AudioFrame.from_ndarray(channel[None], format="fltp", layout="mono")
        frame.sample_rate = sound["sample_rate"]
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
        pieces = [*resampler.resample(frame), *resampler.resample(None)]  # none, of very few samples
        channels.append(torch.cat([torch.zeros(0), *(torch.from_numpy(piece.to_ndarray()[0]) for piece in pieces)]))
    return torch.stack(channels)[None]
