"""A lesson for the transformer: halfway through, each token must tell what stands there.

The error of flow matching is mostly about edges and dapple; what decides whether a clip shows its prompt (which thing
is where, which way it goes, how far it has turned) is a small part of it and is learnt last. Aligning a middle layer
with what is known of the finished picture speeds that up (REPA, Yu et al. 2024). There a pretrained encoder says what
is known; here the scene itself does. Small heads on the tokens after layer LAYER are asked whether a thing stands at
the token, which one, and where in it the token lies. The heads are thrown away.
"""

import math

import torch
from spacetime_nodes.model_loaders.pocket_captions import Scene
from spacetime_nodes.training import world
from spacetime_nodes.training.reading import ASKED
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, silu

LAYER = 5  # of 8
PATCH = 16  # pixels a token spans, across and down
POSE = 5  # where a token lies in its thing: dx, dy, its radius, and the cosine and sine of its turning


class Seeing(nn.Module):
    """One hidden layer and a linear head for each thing asked, on tokens of `width` channels."""

    def __init__(self, width: int):
        super().__init__()
        self.hidden = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.there = nn.Linear(width, 2)
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(answers)) for name, answers in ASKED.items()})
        self.pose = nn.Linear(width, POSE)

    def forward(self, tokens: Tensor, answers: Tensor, poses: Tensor) -> Tensor:
        """The mean of the heads' losses. tokens [B, N, width]; answers [B, N, 5] int, -1 where nothing stands, and
        poses [B, N, POSE], both from `sights`.
        """
        hidden = silu(self.hidden(tokens.float()))
        stands = answers[..., 0] >= 0
        losses = [cross_entropy(self.there(hidden).flatten(0, 1), stands.long().flatten())]
        if stands.any():
            told, right = hidden[stands], answers[stands].long()
            losses += [cross_entropy(head(told), right[:, k]) for k, head in enumerate(self.heads.values())]
            losses.append((self.pose(told) - poses[stands].float()).square().mean())
        return torch.stack(losses).mean()


def sights(scenes: list[Scene], width: int, height: int, frames: int, first: int = 0) -> tuple[Tensor, Tensor]:
    """What stands at each token of the clips' latents, in the transformer's order (time, row, column).

    first: the latent frame to begin at. A latent frame is told as its last frame of video shows it.
    Returns answers [B, N, 5] int8, indices into ASKED, -1 where no thing reaches into the token; poses [B, N, POSE]
    float16, lengths in tokens.
    """
    short = min(width, height)
    size = PATCH / short
    ys, xs = ((torch.arange(n // PATCH) + 0.5) * size for n in (height, width))
    shown = range(4 * first, frames, 4)
    shape = len(scenes), len(shown), len(ys), len(xs)
    nearest, answers = torch.full(shape, math.inf), torch.full((*shape, len(ASKED)), -1, dtype=torch.int8)
    poses = torch.zeros(*shape, POSE)
    for layer in (0, 1):
        rows = [i for i, scene in enumerate(scenes) if len(scene.things) > layer]
        if not rows:
            continue
        things = [scenes[i].things[layer] for i in rows]
        paths = [world.trajectory(scenes[i], layer, width, height, frames) for i in rows]
        x, y, radius, angle = torch.tensor(paths)[:, list(shown)].unbind(-1)  # each b T
        dx, dy = xs - x[..., None, None], ys[:, None] - y[..., None, None]  # b T 1 w, b T h 1
        distance = torch.hypot(*((d.abs() - size / 2).clamp(min=0) for d in (dx, dy)))  # from the token's square
        corners = torch.tensor([world.SHAPES[thing.shape][0] for thing in things])[:, None]
        turn = corners * angle
        ones = torch.ones_like(distance)
        over_time = (radius / size, turn.cos() * (corners > 0), turn.sin())
        pose = [dx / size * ones, dy / size * ones, *(v[..., None, None] * ones for v in over_time)]
        right = torch.tensor([[options.index(getattr(t, name)) for name, options in ASKED.items()] for t in things])
        away = distance / radius[..., None, None]
        closer = (away < 0.9) & (away < nearest[rows])
        nearest[rows] = torch.where(closer, away, nearest[rows])
        answers[rows] = torch.where(closer[..., None], right[:, None, None, None].to(torch.int8), answers[rows])
        poses[rows] = torch.where(closer[..., None], torch.stack(pose, -1), poses[rows])
    return answers.flatten(1, 3), poses.half().flatten(1, 3)
