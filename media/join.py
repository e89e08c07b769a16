"""One clip after another, with a hard cut between them, still as a stream."""

from . import sound
from .fit import fitted
from .video import StreamVideo


def joined(videos: list[StreamVideo], fit: str) -> tuple[StreamVideo, list[str]]:
    """The videos as one, each brought to the first one's size and frame rate, and what was done to them."""
    first, shots, said = videos[0], [], []
    for number, video in enumerate(videos, 1):
        shot, changes = fitted(video, first.width, first.height, float(first.fps), fit)
        shots.append(shot)
        said += [f"clip {number}: {change}" for change in changes]
    return StreamVideo(
        lambda: (chunk for shot in shots for chunk in shot.frames()),
        width=first.width,
        height=first.height,
        frame_count=sum(shot.frame_count for shot in shots),
        fps=first.fps,
        audio=lambda: sound.joined([v.get_audio() for v in videos], [shot.frame_count / shot.fps for shot in shots]),
    ), said
