"""One clip after another, with a hard cut between them, still as a stream."""

from .fit import fitted
from .video import StreamVideo


def joined(videos: list[StreamVideo], fit: str) -> tuple[StreamVideo, list[str]]:
    """The videos as one, each brought to the first one's size and frame rate, and what was done to them."""
    first, shots, said = videos[0], [], []
    for number, video in enumerate(videos, 1):
        shot, changes = fitted(video, first.width, first.height, float(first.fps), fit)
        shots.append(shot)
        said += [f"clip {number}: {change}" for change in changes]
    lengths = [float(shot.frame_count / shot.fps) for shot in shots]
    sound, lost = _one_sound([video.get_audio() for video in videos], lengths)
    said += [f"clip {number}: its sound of another rate is left out" for number in lost]
    return StreamVideo(
        lambda: (chunk for shot in shots for chunk in shot.frames()),
        width=first.width,
        height=first.height,
        frame_count=sum(shot.frame_count for shot in shots),
        fps=first.fps,
        audio=sound,
    ), said


def _one_sound(sounds: list[dict | None], seconds: list[float]) -> tuple[dict | None, list[int]]:
    """Sounds of so many seconds, one after another; silence where there is none. And the numbers of those left out."""
    import torch

    given = [sound for sound in sounds if sound is not None]
    if not given:
        return None, []
    rate, channels = given[0]["sample_rate"], max(sound["waveform"].shape[1] for sound in given)
    pieces, lost = [], []
    for number, (sound, length) in enumerate(zip(sounds, seconds, strict=True), 1):
        piece = torch.zeros(1, channels, round(length * rate))
        if sound is not None and sound["sample_rate"] != rate:
            lost.append(number)
        elif sound is not None:
            wave = sound["waveform"][:1, :, : piece.shape[2]]
            piece[..., : wave.shape[2]] = wave  # one channel is heard on all
        pieces.append(piece)
    return {"waveform": torch.cat(pieces, dim=2), "sample_rate": rate}, lost
