"""A video VAE as the wires carry it: its facts at once, its weights when it is first asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..spacetime.cost import decoding_bytes
from . import fingerprints, memory
from .component import Component
from .single_file import neighbour


@dataclass(frozen=True)
class VAEFacts:
    family: str
    channels: int
    time_factor: int
    space_factor: int
    width: int  # channels of its widest maps, those at full resolution
    patch: int  # pixels a side that one of those maps' cells holds


class VAE(Component):
    kind, precise = fingerprints.VAE, True
    config: VAEFacts

    @memory.present
    def module(self):
        return self.load(self.source)

    def decode_stream(self, latent) -> Iterator:
        """latent [B, C, T, H, W], raw → float32 chunks [n, height, width, 3] in 0..1 on the CPU, one per latent frame.

        Videos of a batch come one after another.
        """
        import torch

        module, facts = self.module, self.config
        height, width = (side * facts.space_factor for side in latent.shape[3:])
        memory.make_room(decoding_bytes(height, width, facts.time_factor, facts.width, facts.patch), self)
        decode = torch.inference_mode()(self.family.decode_chunks)  # `with` would leak to whoever holds the stream
        for video in latent.split(1):
            for chunk in decode(module, video.to(module.device, module.dtype)):  # [1, 3, n, height, width] in -1..1
                if chunk.sum().isnan():
                    raise ValueError("the VAE decoded NaN: damaged weights, or float16 overflowed (try float32)")
                frames = (chunk * 0.5).add_(0.5).clamp_(0, 1)
                yield frames[0].permute(1, 2, 3, 0).float().cpu()

    def sound(self, tokens) -> dict | None:
        """What was made to be heard with a video, [B, L, D] → ComfyUI's audio; None where nothing here reads it."""
        import torch

        parts = [self.folder.parent / name for name in ("audio_vae", "vocoder")]
        if not hasattr(self.family, "decode_sound") or not all((part / "config.json").is_file() for part in parts):
            return None
        with torch.inference_mode():
            return self.family.decode_sound(*(self.load(neighbour(part)) for part in parts), tokens)

    def encode_stream(self, frames: Iterable) -> Iterator:
        """frames: chunks [n, height, width, 3] in 0..1, however cut → raw latents float32 [1, C, 1, H, W] on the CPU.

        Raises ValueError where the number of frames isn't time_factor·k + 1: the VAE would silently drop the rest.
        """
        import torch

        module = self.module
        clips = (
            (clip.permute(3, 0, 1, 2)[None] * 2 - 1).to(module.device, module.dtype)
            for clip in groups(frames, self.config.time_factor)
        )
        stream = self.family.encode_chunks(module, clips)
        while True:
            with torch.inference_mode():
                latent = next(stream, None)
            if latent is None:
                return
            yield latent.float().cpu().clone()  # an ordinary tensor, outside of inference mode


def groups(frames: Iterable, size: int) -> Iterator:
    """Chunks [n, …] recut as causal video VAEs take them: the first frame alone, then `size` at a time."""
    import torch

    held, wanted, count = [], 1, 0
    for frame in (frame for chunk in frames for frame in chunk):
        held.append(frame)
        count += 1
        if len(held) == wanted:
            yield torch.stack(held)
            held, wanted = [], size
    if held or not count:
        raise ValueError(f"{count} frames don't fit this VAE ({size}k+1 frames): {count - len(held)} would")
