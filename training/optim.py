"""Muon with AdamW beside it, cosine schedules and weight averages: what both stages of the training share."""

import math
from collections import defaultdict

import torch
from spacetime_nodes.spacetime.cost import has_tiles
from torch import Tensor, nn


def quick_dtype(device: torch.device) -> torch.dtype:
    """In which `device` multiplies soonest: bfloat16, but float32 on a CPU without AMX, where a step of the transformer
    takes three quarters of the time so, and encoding clips as well."""
    return torch.float32 if device.type == "cpu" and not has_tiles() else torch.bfloat16


def quick(device: torch.device) -> torch.autocast:
    """Inside, modules compute in `quick_dtype`."""
    return torch.autocast(device.type, torch.bfloat16, enabled=quick_dtype(device) == torch.bfloat16)


@torch.no_grad()
def orthogonalise(g: Tensor, steps: int = 5) -> Tensor:
    """The nearest semi-orthogonal matrices to g [N, rows, columns] by Newton–Schulz iteration (Jordan et al. 2024)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(quick_dtype(g.device))
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(g.dtype)


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum for weight matrices (Jordan et al. 2024), scaled to AdamW's step (Liu et al. 2025).

    Convolutions count as [out, in * kernel] matrices. Parameters of one shape are orthogonalised in one batch.
    """

    def __init__(self, params, lr: float, momentum: float = 0.95, weight_decay: float = 0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            shapes = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    shapes[p.flatten(1).shape].append(p)
            for (rows, columns), params in shapes.items():
                updates = []
                for p in params:
                    state = self.state[p]
                    buffer = state.setdefault("momentum", torch.zeros_like(p))
                    buffer.lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(buffer, group["momentum"]).flatten(1))
                updates = orthogonalise(torch.stack(updates))
                scale = 0.2 * math.sqrt(max(rows, columns))
                for p, update in zip(params, updates, strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(update.view_as(p), alpha=-group["lr"] * scale)


def optimizers(
    matrices: list[nn.Parameter], others: list[nn.Parameter], lr: float, lr_others: float, weight_decay: float
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices, AdamW for everything else.

    weight_decay is of the matrices: without it Muon's steps, all of one size, let them grow for ever (Liu et al. 2025).
    """
    adam = torch.optim.AdamW(others, lr=lr_others, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [Muon(matrices, lr=lr, weight_decay=weight_decay), adam]


def set_rate(opts: list[torch.optim.Optimizer], factor: float) -> None:
    """Sets every learning rate to `factor` of the one it was made with."""
    for opt in opts:
        for group in opt.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def schedule(progress: float, warmup: float = 0.02, cooldown: float = 0.5) -> float:
    """Learning rate factor over training progress 0..1: warm up, hold, then fall linearly to 2 % (WSD)."""
    if progress < warmup:
        return progress / warmup + 1e-3
    return max(0.02, min(1.0, (1 - progress) / cooldown))


class Average:
    """Exponential moving average of a module's parameters, as a state dict."""

    def __init__(self, module: nn.Module, decay: float = 0.998):
        self.decay, self.steps = decay, 0
        self.state = {k: v.detach().clone().float() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        for k, v in module.state_dict().items():
            self.state[k].lerp_(v.detach().float(), 1 - keep)
