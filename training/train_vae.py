"""Stage one: pocket's VAE learns to rebuild clips of the world, then its latents are measured.

Wan's VAE encodes and decodes in chunks with a cache. Training runs the same modules over the whole sequence at once,
which gives the same numbers (`test_whole_sequence_equals_chunks`) in half the time and keeps one graph for backward.
"""

import random
import types
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanResample, WanRMS_norm, patchify, unpatchify
from einops import rearrange
from spacetime_nodes.training import world
from spacetime_nodes.training.optim import Average, optimizers, quick, schedule, set_rate
from spacetime_nodes.training.run import Run
from torch import Tensor
from torch.nn.functional import max_pool2d

CONFIG = {
    "base_dim": 16, "z_dim": 16, "dim_mult": [1, 2, 4], "num_res_blocks": 1, "attn_scales": [],
    "temperal_downsample": [True, True], "patch_size": 2, "in_channels": 12, "out_channels": 12, "is_residual": False,
    "scale_factor_temporal": 4, "scale_factor_spatial": 8, "latents_mean": [0.0] * 16, "latents_std": [1.0] * 16,
}  # fmt: skip
# frames, width, height, batch, share of the steps
BUCKETS = [
    (1, 64, 64, 24, 2), (1, 96, 96, 12, 1), (5, 64, 64, 7, 2), (9, 64, 64, 4, 4), (9, 80, 48, 4, 1),
    (9, 48, 80, 4, 1), (13, 64, 64, 3, 1), (17, 64, 64, 2, 2), (9, 96, 96, 2, 1), (5, 128, 128, 2, 1),
    (33, 64, 64, 1, 1),
]  # fmt: skip
IMAGES_FIRST = 0.1  # of the budget: images alone teach the spatial layers fastest
ON_SHAPES = 7.0  # extra weight of the error on and around the shapes
KL = 1e-5  # ten times as much empties some of the sixteen channels
STEADY = 0.02  # weight of the latents' unsteadiness over time
HUBER = 0.03  # where the error's penalty turns from square to linear


def _resample_whole(self: WanResample, x: Tensor, feat_cache=None, feat_idx=None) -> Tensor:
    """WanResample over the whole sequence: the first frame alone, all others in pairs, as in chunks."""
    if self.mode == "upsample3d" and x.shape[2] > 1:
        pairs = rearrange(self.time_conv(x[:, :, 1:]), "b (two c) t h w -> b c (t two) h w", two=2)
        x = torch.cat([x[:, :, :1], pairs], dim=2)
    batch = x.shape[0]
    x = rearrange(self.resample(rearrange(x, "b c t h w -> (b t) c h w")), "(b t) c h w -> b c t h w", b=batch)
    if self.mode == "downsample3d" and x.shape[2] > 1:
        x = torch.cat([x[:, :, :1], self.time_conv(x)], dim=2)
    return x


def _normalise_fast(self: WanRMS_norm, x: Tensor) -> Tensor:
    """WanRMS_norm without `F.normalize`, whose norm over strided channels takes a fifth of a step on a CPU."""
    inverse = torch.rsqrt(x.float().square().sum(1, keepdim=True).clamp_min(1e-12))
    return x * (inverse.to(x.dtype) * self.scale) * self.gamma


@contextmanager
def whole_sequence(vae: AutoencoderKLWan):
    """Inside, `encode` and `decode` of this file work on `vae`; its own chunked methods do not."""
    swaps = {WanResample: _resample_whole, WanRMS_norm: _normalise_fast}
    layers = [m for m in vae.modules() if type(m) in swaps]
    for m in layers:
        m.forward = types.MethodType(swaps[type(m)], m)
    try:
        yield
    finally:
        for m in layers:
            del m.forward


def encode(vae: AutoencoderKLWan, clip: Tensor) -> tuple[Tensor, Tensor]:
    """Clip [B, F, H, W, 3] in 0..1 → mean and log-variance [B, 16, T, H/8, W/8] of the raw latents."""
    x = patchify(rearrange(clip * 2 - 1, "b f h w c -> b c f h w"), vae.config.patch_size)
    return vae.quant_conv(vae.encoder(x)).chunk(2, dim=1)


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Raw latents [B, 16, T, h, w] → clip [B, F, 8h, 8w, 3], around 0..1, unclamped."""
    x = unpatchify(vae.decoder(vae.post_quant_conv(latents)), vae.config.patch_size)
    return rearrange(x, "b c f h w -> b f h w c") / 2 + 0.5


def draw_batch(rng: random.Random, frames: int, width: int, height: int, batch: int) -> tuple[Tensor, Tensor]:
    """Fresh clips and the weight of each pixel's error [B, F, H, W]."""
    scenes = [world.sample_scene(rng, width=width, height=height, frames=max(frames, 9)) for _ in range(batch)]
    clip, covered = world.render_with_coverage(scenes, width, height, frames)
    near = max_pool2d(covered.flatten(0, 1), kernel_size=7, stride=1, padding=3).view_as(covered)
    return clip, 1 + ON_SHAPES * near


def loss_of(vae: AutoencoderKLWan, clip: Tensor, weight: Tensor, sample: bool = True) -> tuple[Tensor, Tensor]:
    """The training loss and, for the log, the mean square error."""
    with quick(clip.device):
        mean, logvar = encode(vae, clip)
        mean, logvar = mean.float(), logvar.float().clamp(-20, 10)
        latents = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar) if sample else mean
        error = decode(vae, latents).float() - clip
    huber = torch.sqrt(error.square() + HUBER**2) - HUBER
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    loss = (weight[..., None] * huber).mean() + KL * kl + STEADY * unsteadiness(mean)
    return loss, error.detach().square().mean()


def unsteadiness(latents: Tensor) -> Tensor:
    """How much the size of latents [B, C, T, H, W] varies over time: 0 where it stays the same.

    A causal VAE left to itself writes little into the first latent frame and ten times its variance into the fifth. One
    deviation a channel can't normalise that: the transformer would meet each frame at another noise level.
    """
    if latents.shape[2] == 1:
        return latents.new_zeros(())
    centred = latents - latents.mean((0, 2, 3, 4), keepdim=True)
    size = centred.square().mean((0, 3, 4)).clamp_min(1e-6).log()  # C T
    return size.var(1, correction=0).mean()


@torch.inference_mode()
def psnr(vae: AutoencoderKLWan, count: int = 24, seed: int = 977, frames: int = 17, size: int = 64) -> float:
    """Mean PSNR in dB over unseen clips of all combinations, through the VAE's own chunked encode and decode."""
    rng, total = random.Random(seed), 0.0
    for _ in range(count // 8):
        scenes = [world.sample_scene(rng, width=size, height=size, frames=frames, split="all") for _ in range(8)]
        clip = world.render(scenes, size, size, frames).to(vae.device)
        x = rearrange(clip * 2 - 1, "b f h w c -> b c f h w")
        rebuilt = vae.decode(vae.encode(x).latent_dist.mode()).sample
        mse = ((rebuilt - x) / 2).square().flatten(1).mean(1)
        total += (-10 * mse.log10()).sum().item()
    return total / count


def build() -> AutoencoderKLWan:
    """An untrained VAE, the decoder's last layer at a tenth so that it starts near gray."""
    vae = AutoencoderKLWan(**CONFIG)
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(0.1)
    return vae


def measure_latents(vae: AutoencoderKLWan, count: int = 256) -> None:
    """Sets `latents_mean` and `latents_std` (16 numbers each) from clips of the world.

    The deviation is that of the sampled latents: a channel that the KL has emptied has means near zero, and dividing
    by their deviation would blow nothing up to noise that the transformer must then learn.
    """
    rng, latents, spread = random.Random(5), [], []
    with torch.inference_mode(), whole_sequence(vae):
        for frames, width, height in ((17, 64, 64), (17, 80, 48), (1, 64, 64), (9, 96, 96)):
            clip, _ = draw_batch(rng, frames, width, height, count // 8)
            mean, logvar = (x.cpu().transpose(0, 1).flatten(1) for x in encode(vae, clip.to(vae.device)))
            latents.append(mean)
            spread.append(logvar.exp())
    values, variance = torch.cat(latents, dim=1), torch.cat(spread, dim=1).mean(1)
    deviation = (values.var(1) + variance).sqrt()
    vae.register_to_config(latents_mean=values.mean(1).tolist(), latents_std=deviation.tolist())


def train(out: Path, minutes: float, device: torch.device, seed: int, lr: float = 8e-3, lr_others: float = 3e-3,
          start: Path | None = None, decoder_only: bool = False) -> None:  # fmt: skip
    """Trains for `minutes` (counted over all resumptions) and saves the averaged weights to `out/vae`.

    start: a folder of VAE weights to go on from. decoder_only: leaves its encoder, and so its latents, as they are.
    """
    vae = AutoencoderKLWan.from_pretrained(start) if start else build()
    vae = vae.to(device).train()
    trained = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()] if decoder_only else [*vae.parameters()]
    if decoder_only:
        vae.encoder.requires_grad_(False)
    matrices = [p for p in trained if p.ndim >= 2 and min(p.flatten(1).shape) >= 12]
    others = [p for p in trained if not any(p is m for m in matrices)]
    opts = optimizers(matrices, others, lr, lr_others, weight_decay=0.05)
    average = Average(vae, 0.998)
    run = Run(out / ("decoder" if decoder_only else "vae_run"), minutes, {"vae": vae, "average": average}, opts)
    rng = random.Random(seed + run.step)
    while run.going():
        buckets = BUCKETS[:2] if run.progress < IMAGES_FIRST and not start else BUCKETS
        frames, width, height, batch, _ = rng.choices(buckets, weights=[b[-1] for b in buckets])[0]
        clip, weight = draw_batch(rng, frames, width, height, batch)
        set_rate(opts, schedule(run.progress, cooldown=0.7))
        with whole_sequence(vae):
            loss, mse = loss_of(vae, clip.to(device), weight.to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for opt in opts:
            opt.step()
        vae.zero_grad(set_to_none=True)
        average.update(vae)
        run.log(loss=loss.item(), psnr=-10 * mse.log10().item())
    vae.load_state_dict(average.state)
    vae.eval().requires_grad_(False)
    if not decoder_only:
        measure_latents(vae)
    video, images, larger = psnr(vae), psnr(vae, frames=1), psnr(vae, size=96)
    run.note(f"psnr {video:.2f} dB at 64x64x17, {images:.2f} dB images, {larger:.2f} dB at 96x96x17")
    vae.save_pretrained(out / "vae")
