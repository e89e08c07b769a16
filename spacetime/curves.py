"""How one clip passes into another: curves over time, 0 the first clip, 1 the second. Plans need it without torch."""

import math

CUSTOM = "custom"
CURVES = {  # how far into the video, 0 to 1 → how much of the second clip
    "linear": lambda u: u,
    "smooth": lambda u: u * u * (3 - 2 * u),  # smoothstep: slow at both ends
    "ease in": lambda u: u * u,
    "ease out": lambda u: u * (2 - u),
    "step": lambda u: float(u >= 0.5),
}
EXAMPLE = "0:0, 0.5:0.2, 2:1"


def weights(curve: str, keypoints: str, latent_frames: int, seconds_each: float, seconds: float) -> list[float]:
    """How much the second clip counts in each latent frame, the first at 0 s and the others `seconds_each` apart.

    curve: one of CURVES, drawn over the whole video, or "custom": straight lines between `keypoints`. seconds: how long
    the clips are; they may end a little after the last latent frame, and a keypoint there counts as at that frame.
    Raises ValueError for a curve that isn't one, and for a keypoint after the end.
    """
    end = (latent_frames - 1) * seconds_each
    if curve == CUSTOM:
        points = parsed(keypoints)
        late = next((time for time, _ in points if time > seconds + 1e-6), None)
        if late is not None:
            raise ValueError(f"keypoint {late:g} s lies behind the end of the blend, which is {seconds:g} s long")
        points = [(min(time, end), weight) for time, weight in points]
        return [between(points, frame * seconds_each) for frame in range(latent_frames)]
    if curve not in CURVES:
        raise ValueError(f"curve {curve!r} can't be; one of {', '.join(CURVES)}, {CUSTOM}")
    return [CURVES[curve](frame / max(latent_frames - 1, 1)) for frame in range(latent_frames)]


def parsed(keypoints: str) -> list[tuple[float, float]]:
    """ "time:weight, time:weight" → [(seconds, weight)], in rising order of time."""
    points = []
    for entry in keypoints.split(","):
        try:
            time, weight = (float(number) for number in entry.split(":"))
        except ValueError:
            raise ValueError(
                f"keypoint {entry.strip()[:40]!r} can't be read; write time:weight pairs such as {EXAMPLE}"
            ) from None
        if not (math.isfinite(time) and time >= 0 and 0 <= weight <= 1):
            raise ValueError(f"keypoint {entry.strip()[:40]!r} can't be; seconds from 0 on, and a weight from 0 to 1")
        if points and time < points[-1][0]:
            raise ValueError(f"keypoint {entry.strip()[:40]!r} comes after {points[-1][0]:g} s; times only rise")
        points.append((time, weight))
    return points


def between(points: list[tuple[float, float]], time: float) -> float:
    """The weight at a time: on the straight line between its neighbours, before the first and after the last theirs.

    Where two points share a time the weight jumps, and the later one counts from there on.
    """
    before = [point for point in points if point[0] <= time]
    after = [point for point in points if point[0] > time]
    if not before or not after:
        return before[-1][1] if before else after[0][1]
    (left, low), (right, high) = before[-1], after[0]
    return low + (high - low) * (time - left) / (right - left)
