"""What can be measured of a finished clip, from its pixels alone."""

import torch
from torch import Tensor

FLOOR = 2 / 255  # a still clip's neighbours differ by less than can be seen; a join is measured against this at least


def frame_distances(clip: Tensor) -> Tensor:
    """Root mean square difference [F-1] between consecutive frames of clip [F, H, W, 3]."""
    return (clip[1:] - clip[:-1]).square().flatten(1).mean(1).sqrt()


def seam_score(clip: Tensor, join: int, neighbours: int = 4) -> float:
    """How much the step from frame join-1 to frame join stands out: its distance ÷ the median of its neighbours'."""
    if not 0 < join < len(clip):
        raise ValueError(f"no join before frame {join} of {len(clip)} frames; it must be 1 to {len(clip) - 1}")
    distances = frame_distances(clip[max(0, join - 1 - neighbours) : join + 1 + neighbours])
    at = min(join - 1, neighbours)
    around = torch.cat([distances[:at], distances[at + 1 :]])
    usual = around.median() if len(around) else distances.new_tensor(0.0)
    return (distances[at].clamp(min=FLOOR) / usual.clamp(min=FLOOR)).item()


def wrap_score(clip: Tensor) -> float:
    """How much the step from the last frame back to the first stands out: its distance ÷ the median of all steps'."""
    wrap = frame_distances(torch.stack([clip[-1], clip[0]]))
    return (wrap.clamp(min=FLOOR) / frame_distances(clip).median().clamp(min=FLOOR)).item()
