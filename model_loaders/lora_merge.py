"""What a LoRA does to one tensor of a transformer, while that is read.

It is added to the weights in float32 before they are rounded to the user's number format, so that a step takes no
longer than without it and nothing else has to know. PEFT's adapters (diffusers' load_lora_adapter) would stay beside
the weights: two small products more in every layer and step, other names for the layers, which offloading, caches and
compilation go by, and one more package to run. What they give for it, another strength without reading the weights
again, isn't worth that here.
"""

from dataclasses import dataclass
from pathlib import Path

from .checkpoint import CheckpointError
from .lora_keys import ALPHA, BIAS, DIFF, DIFF_B, DOWN, HADA, LOKR, MAGNITUDE, UP, Layer, lokr_factors
from .reading import read
from .single_file import whole


@dataclass(frozen=True)
class Change:
    file: Path
    layer: Layer
    strength: float
    rows: tuple[int, int]  # of the file's layer, which may be several of the transformer's in one
    swap: bool = False  # its halves change places
    bias: bool = False
    alpha: float | None = None  # where it isn't a tensor in the file
    rank_stabilised: bool = False  # Kalajdzievski 2023: alpha over the root of the rank

    def __call__(self, weight):
        """weight: float32, as the module has it. Returns it changed."""
        parts = self._read(weight.device)
        if self.bias:
            if BIAS in parts:
                rank = self.layer.parts[DOWN].shape[0] if DOWN in self.layer.parts else 1
                weight = weight + self._mine(parts[BIAS]) * (self._scale(parts, rank) * self.strength)
            return weight + self._mine(parts[DIFF_B]) * self.strength if DIFF_B in parts else weight
        if DIFF in parts:
            weight = weight + self._mine(parts[DIFF]).reshape(weight.shape) * self.strength
        product, scale = self._product(parts)
        if product is None:
            return weight
        product = product.reshape(weight.shape)
        if MAGNITUDE not in parts:
            return weight + product * (scale * self.strength)
        return weight.lerp(self._with_magnitude(weight + product * scale, parts), self.strength)

    def zero(self) -> str:
        """Which of its parts makes all of it zero, "" where it changes the weights."""
        here = self.layer.parts
        if not self.bias and MAGNITUDE in here:
            return ""  # a DoRA's rows have new lengths; only the weights could tell that they are the old ones
        kron = lokr_factors(here)
        if {*kron} != {LOKR[0], LOKR[3]}:  # LyCORIS scales only what is itself a product
            kron = (ALPHA, *kron)
        sums = ((ALPHA, BIAS), (DIFF_B,)) if self.bias else ((DIFF,), (ALPHA, UP, DOWN), (ALPHA, *HADA), kron)
        zeros = [next(filter(self._is_zero, product), "") for product in sums if product[-1] in here]
        return zeros[0] if all(zeros) else ""

    def _is_zero(self, part: str) -> bool:
        if part == ALPHA and ALPHA not in self.layer.parts:
            return self.alpha == 0
        return not self._read("cpu", part)[part].any()

    def _product(self, parts):
        """[rows, columns] of the change before it is scaled, and the scale."""
        import torch

        if DOWN in parts:
            up, down = self._mine(parts[UP]).flatten(1), parts[DOWN].flatten(1)
            return up @ down, self._scale(parts, len(down))
        if HADA[0] in parts:  # LoHa (Hyeon-Woo et al. 2022): the product, number by number, of two LoRAs
            a, b, c, d = (parts[name] for name in HADA)
            return self._mine((a @ b) * (c @ d)), self._scale(parts, len(b))
        pair, rank = [], 0
        for full, first, second in (LOKR[:3], LOKR[3:]):  # LoKr (Yeh et al. 2024): a Kronecker product
            if full in parts:
                pair.append(parts[full].flatten(1))  # a convolution's columns come in the same order so
            elif first in parts:
                pair.append(parts[first] @ parts[second])
                rank = len(parts[second])
        if len(pair) == 2:  # LyCORIS scales only what is itself a product
            return self._mine(torch.kron(*pair)), self._scale(parts, rank) if rank else 1.0
        return None, 1.0

    def _with_magnitude(self, weight, parts):
        """DoRA (Liu et al. 2024, eq. 5): every row of the changed weights gets the length that was learned for it."""
        lengths = weight.flatten(1).norm(dim=1)
        learned = self._mine(parts[MAGNITUDE].flatten())
        return weight * (learned / lengths).view(-1, *[1] * (weight.ndim - 1))

    def _scale(self, parts, rank: int) -> float:
        alpha = float(parts[ALPHA]) if ALPHA in parts else self.alpha
        if alpha is None:
            return 1.0
        return alpha / rank**0.5 if self.rank_stabilised else alpha / rank

    def _mine(self, rows):
        if self.swap:
            rows = rows.roll(len(rows) // 2, 0)
        return rows[slice(*self.rows)]

    def _read(self, device, only: str = "") -> dict:
        import torch

        parts = {}
        with self.file.open("rb") as file:
            for name, info in self.layer.parts.items():
                if only and name != only:
                    continue
                parts[name] = read(whole(self.file, info), file, torch.float32, device)
                if not parts[name].isfinite().all():
                    raise CheckpointError(
                        f"{self.file.name} holds numbers that are none (NaN or infinite) in {self.layer.name}; "
                        "its training failed or the file is damaged"
                    )
        return parts
