"""Wan's transformer for training: the same weights and the same numbers in a third of the time on a CPU.

`WanTransformer3DModel.forward` with per-token timesteps carries six modulations of every token through every layer.
In training a token is either known (timestep 0) or free (timestep t), so two modulations a clip suffice: the tokens
are sorted into [free | known] and each part is modulated by broadcasting. Padding tokens of the text are all alike,
so a few stand for many by a bias on their logits. Equality is tested (`test_fast_forward_equals_wan`).
"""

import math

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from einops import rearrange
from torch import Tensor


def forward(
    dit: WanTransformer3DModel, latents: Tensor, timestep: Tensor, known: Tensor, text: Tensor, lengths: Tensor,
    padded_to: int, dtype: torch.dtype, tap: int = 0,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Predicts the velocity, as `dit(latents, timestep * ~known, text)` does with the text zero-padded to `padded_to`.

    latents [B, C, T, H, W]; timestep [B] in 0..1000; known [N] bool over tokens, the same for the whole batch;
    text [B, L, D] with zeros from `lengths` [B] on, L > every length. Returns float32 [B, C, T, H, W], and the tokens
    [B, N, D] as they are after `tap` layers.
    """
    pt, ph, pw = dit.config.patch_size
    heads = dit.config.num_attention_heads
    order = known.to(torch.int8).argsort(stable=True)
    free = int((~known).sum())

    cos, sin = dit.rope(latents)  # 1 N 1 d
    cos, sin = (f[0, order, 0, ::2].to(dtype) for f in (cos, sin))  # N d/2
    patches = rearrange(latents, "b c (t pt) (h ph) (w pw) -> b (t h w) (c pt ph pw)", pt=pt, ph=ph, pw=pw)
    weight = dit.patch_embedding.weight.flatten(1)
    x = F.linear(patches[:, order].to(dtype), weight.to(dtype), dit.patch_embedding.bias.to(dtype))  # B N D

    embed = dit.condition_embedder
    times = torch.stack([timestep, torch.zeros_like(timestep)], dim=1).flatten()  # free, known
    temb = embed.time_embedder(embed.timesteps_proj(times))  # 2B D
    table = rearrange(embed.time_proj(F.silu(temb)), "(b two) (six d) -> two six b 1 d", two=2, six=6)
    temb = rearrange(temb, "(b two) d -> two b 1 d", two=2)
    context = embed.text_embedder(text).to(dtype)  # B L D
    bias = _pad_bias(lengths, text.shape[1], padded_to).to(dtype)

    tapped = x
    for number, block in enumerate(dit.blocks, start=1):
        modulation = (table + block.scale_shift_table[0][:, None, None]).to(dtype).unbind(1)
        shift, scale, gate, shift_ffn, scale_ffn, gate_ffn = modulation  # each 2 B 1 D
        h = _modulate(F.layer_norm(x, x.shape[-1:], eps=block.norm1.eps), shift, scale, free)
        x = _gate(x, _self_attention(block.attn1, h, cos, sin, heads), gate, free)
        h = F.layer_norm(x, x.shape[-1:], block.norm2.weight.to(dtype), block.norm2.bias.to(dtype), block.norm2.eps)
        x = x + _cross_attention(block.attn2, h, context, bias, heads)
        h = _modulate(F.layer_norm(x, x.shape[-1:], eps=block.norm3.eps), shift_ffn, scale_ffn, free)
        h = F.gelu(_linear(block.ffn.net[0].proj, h), approximate="tanh")
        x = _gate(x, _linear(block.ffn.net[2], h), gate_ffn, free)
        tapped = x if number == tap else tapped

    shift, scale = (dit.scale_shift_table[0][:, None, None, None] + temb).to(dtype).unbind(0)  # each 2 B 1 D
    x = _modulate(F.layer_norm(x, x.shape[-1:], eps=dit.norm_out.eps), shift, scale, free)
    back = order.argsort()
    x = _linear(dit.proj_out, x).float()[:, back]
    t, h, w = (size // p for size, p in zip(latents.shape[2:], (pt, ph, pw), strict=True))
    layout = "b (t h w) (pt ph pw c) -> b c (t pt) (h ph) (w pw)"
    return rearrange(x, layout, t=t, h=h, w=w, pt=pt, ph=ph, pw=pw), tapped[:, back]


def _linear(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


def _modulate(x: Tensor, shift: Tensor, scale: Tensor, free: int) -> Tensor:
    """shift, scale [2, B, 1, D]: one for the free tokens, which come first, one for the known."""
    parts = [torch.addcmul(shift[0], x[:, :free], 1 + scale[0])]
    if free < x.shape[1]:
        parts.append(torch.addcmul(shift[1], x[:, free:], 1 + scale[1]))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _gate(x: Tensor, update: Tensor, gate: Tensor, free: int) -> Tensor:
    if free == x.shape[1]:
        return torch.addcmul(x, update, gate[0])
    parts = torch.addcmul(x[:, :free], update[:, :free], gate[0]), torch.addcmul(x[:, free:], update[:, free:], gate[1])
    return torch.cat(parts, dim=1)


def _self_attention(attn, x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
    # The order of channels within a head is free where q and k share it, so the rotated pairs (2i, 2i+1) are laid out
    # as two halves by permuting the weights: rotation then reads and writes in long runs.
    d = x.shape[-1] // heads
    perm = rearrange(torch.arange(x.shape[-1], device=x.device), "(h i two) -> (h two i)", h=heads, i=d // 2, two=2)
    weight = torch.cat([attn.to_q.weight[perm], attn.to_k.weight[perm], attn.to_v.weight]).to(x.dtype)
    bias = torch.cat([attn.to_q.bias[perm], attn.to_k.bias[perm], attn.to_v.bias]).to(x.dtype)
    q, k, v = F.linear(x, weight, bias).chunk(3, dim=-1)  # B N D
    q = _rotate(_rms_norm(q, attn.norm_q.weight[perm], attn.norm_q.eps), cos, sin, heads)
    k = _rotate(_rms_norm(k, attn.norm_k.weight[perm], attn.norm_k.eps), cos, sin, heads)
    v = rearrange(v, "b n (h d) -> b h n d", h=heads)
    return _linear(attn.to_out[0], rearrange(_attend(q, k, v), "b h n d -> b n (h d)"))


def _cross_attention(attn, x: Tensor, context: Tensor, bias: Tensor, heads: int) -> Tensor:
    q = _rms_norm(_linear(attn.to_q, x), attn.norm_q.weight, attn.norm_q.eps)
    weight = torch.cat([attn.to_k.weight, attn.to_v.weight]).to(x.dtype)
    k, v = F.linear(context, weight, torch.cat([attn.to_k.bias, attn.to_v.bias]).to(x.dtype)).chunk(2, dim=-1)
    k = _rms_norm(k, attn.norm_k.weight, attn.norm_k.eps)
    q, k, v = (rearrange(y, "b n (h d) -> b h n d", h=heads) for y in (q, k, v))
    y = _attend(q, k, v, bias)
    return _linear(attn.to_out[0], rearrange(y, "b h n d -> b n (h d)"))


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention with its matrix written out: on a CPU, a few hundred tokens train in a third of SDPA's time."""
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    scores = q @ (k * q.shape[-1] ** -0.5).mT
    return (scores if bias is None else scores + bias).softmax(-1, dtype=torch.float32).to(v.dtype) @ v


def _rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    square = (x * x).sum(-1, keepdim=True, dtype=torch.float32)
    return x * torch.rsqrt(square / x.shape[-1] + eps).to(x.dtype) * weight.to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
    """Rotary embedding of x [B, N, D] whose heads hold their pairs as two halves → [B, h, N, d]."""
    a, b = rearrange(x, "b n (h two i) -> two b h n i", h=heads, two=2)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def _pad_bias(lengths: Tensor, shown: int, padded_to: int) -> Tensor:
    """Logit bias [B, 1, 1, L] that makes the paddings shown weigh as much as all that stand in the real text."""
    position = torch.arange(shown, device=lengths.device)
    each = torch.log((padded_to - lengths).clamp(min=1) / (shown - lengths))  # B
    return torch.where(position >= lengths[:, None], each[:, None], 0.0)[:, None, None]


def patch_known(free: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """Which tokens are known, [N] bool, from a mask of free cells [T, H, W] that is constant within each patch."""
    pt, ph, pw = patch
    return free[::pt, ::ph, ::pw].flatten() == 0


def shift_time(u: Tensor, shift: float) -> Tensor:
    """Timestep shift of flow matching (Esser et al. 2024, eq. 23): s·u / (1 + (s - 1)·u)."""
    return shift * u / (1 + (shift - 1) * u)


def draw_time(batch: int, shift: Tensor | float, generator: torch.Generator | None = None) -> Tensor:
    """Noise levels sigma [B] in 0..1: logit-normal (Esser et al. 2024), shifted; a tenth uniform."""
    u = torch.sigmoid(torch.randn(batch, generator=generator))
    flat = torch.rand(batch, generator=generator)
    u = torch.where(torch.rand(batch, generator=generator) < 0.1, flat, u)
    return shift_time(u, shift).clamp(1e-3, 1 - math.ulp(1.0))
