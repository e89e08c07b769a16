"""A video VAE as the wires carry it: its facts at once, its weights when it is first asked for."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from ..spacetime.cost import available_bytes, decoding_bytes, readable
from . import fingerprints, memory, tiles
from .component import Component
from .devices import gpu_bytes, on_cpu, value_bytes
from .single_file import neighbour


@dataclass(frozen=True)
class VAEFacts:
    family: str
    channels: int
    time_factor: int
    space_factor: int
    width: int  # channels of its widest maps, those at full resolution
    patch: int  # pixels a side that one of those maps' cells holds
    whole: int = 0  # frames that it decodes at a time where it can't stream: all, where this is more than they are
    tile: int = 256  # pixels a side of a tile
    chunk: int = 0  # frames that it streams at a time, where these aren't time_factor
    maps: int = 16  # of the size of its widest that are alive at once, see spacetime.cost.decoding_bytes
    always_tiled: bool = False  # and what is smaller than a tile is filled up to one


BLENDED = 2 * 3 * 4  # bytes of a pixel: float32 RGB, once more while tiles or stretches are put together
SOUND_FOLDERS = ("audio_vae", "vocoder")
AUTO, ON, OFF = TILING = ("auto", "on", "off")


class VAE(Component):
    kind, precise = fingerprints.VAE, True
    config: VAEFacts

    def __init__(self, path, dtype="auto", device="auto", tiling: str = AUTO, **more):
        """more: `tell`, a function that takes one line for the user; `scratch`, the folder in which tiles wait for each
        other; `alive`, a function that raises where the user has cancelled, asked at every latent frame."""
        super().__init__(path, dtype, device)
        self.tiling, self.tell = tiling, more.get("tell", lambda line: None)
        self.scratch = more.get("scratch") or Path(tempfile.gettempdir())
        self.alive = more.get("alive", lambda: None)

    def decoding_bytes(self, height: int, width: int, frames: int, tiled: bool = False) -> int:
        """Peak activations of decoding so many frames, or of encoding them."""
        facts = self.config
        result = BLENDED * frames * height * width if facts.whole else 0  # else it leaves a few frames at a time
        at_once = min(frames, facts.whole or facts.chunk or facts.time_factor)
        if facts.always_tiled:
            at_once, height, width = facts.whole, facts.tile, facts.tile
        elif tiled:
            height, width = min(height, facts.tile), min(width, facts.tile)
        value = value_bytes(self.dtype, self.device, self.precise)
        return result + decoding_bytes(height, width, at_once, facts.width, facts.patch, value, facts.maps)

    def planned_bytes(self, height: int, width: int, frames: int, room: int | None = None) -> int:
        """Before anything is loaded: in tiles, where auto would find too little memory free, or less than `room`."""
        whole = self.decoding_bytes(height, width, frames)
        there = (available_bytes() if on_cpu(self.device) else gpu_bytes()), room
        free = min((count for count in there if count is not None), default=whole)
        return self.decoding_bytes(height, width, frames, self._in_tiles(whole, free))

    def _in_tiles(self, whole: int, free: int) -> bool:
        return self.tiling == ON or (self.tiling == AUTO and whole > free)

    def tile(self, module, height: int, width: int, frames: int) -> bool:
        """Makes room. Whether it goes tile by tile: where that is wanted, or on auto where the whole wouldn't fit."""
        facts = self.config
        whole, free = self.decoding_bytes(height, width, frames), memory.free_bytes(module.device)
        tiled = self._in_tiles(whole, free) and max(height, width) > facts.tile and not facts.always_tiled
        if tiled and self.tiling == AUTO:
            self.tell(f"the VAE works in tiles: whole, it would take {readable(whole)}, {readable(free)} are free")
        if facts.whole and not facts.always_tiled:  # diffusers cuts it up
            (module.enable_tiling if tiled else module.disable_tiling)()
        memory.make_room(self.decoding_bytes(height, width, frames, tiled), self)
        return tiled and not facts.whole

    @memory.present
    def module(self):
        return self.load(self.source)

    def decode_stream(self, latent) -> Iterator:
        """latent [B, C, T, H, W], raw → float32 chunks [n, height, width, 3] in 0..1 on the CPU, one per latent frame.

        Videos of a batch come one after another.
        """
        facts = self.config
        height, width = (side * facts.space_factor for side in latent.shape[3:])
        tiled = self.tile(self.module, height, width, facts.time_factor * (latent.shape[2] - 1) + 1)
        for video in latent.split(1):
            if tiled:
                cells = facts.tile // facts.space_factor
                yield from tiles.decoded(self._decoded, video, cells, facts.space_factor, self.scratch)
            else:
                yield from self._decoded(video)

    def _decoded(self, video) -> Iterator:
        """video [1, C, T, H, W] → chunks [n, height, width, 3]."""
        import torch

        module = self.module
        decode = torch.inference_mode()(self.family.decode_chunks)  # `with` would leak to whoever holds the stream
        for chunk in decode(module, video.to(module.device, module.dtype)):  # [1, 3, n, height, width] in -1..1
            self.alive()
            if chunk.sum().isnan():
                raise ValueError("the VAE decoded NaN: damaged weights, or float16 overflowed (try float32)")
            frames = (chunk * 0.5).add_(0.5).clamp_(0, 1)
            yield frames[0].permute(1, 2, 3, 0).float().cpu()

    def sound(self, tokens) -> dict | None:
        """What was made to be heard with a video, [B, L, D] → ComfyUI's audio; None where nothing here reads it."""
        import torch

        if not hasattr(self.family, "decode_sound") or self.unheard_without():
            return None
        with torch.inference_mode():
            parts = (neighbour(self.folder.parent / name) for name in SOUND_FOLDERS)
            return self.family.decode_sound(*map(self.load, parts), tokens)

    def unheard_without(self) -> list[str]:
        """The folders that sound is decoded by and that aren't beside it."""
        return [name for name in SOUND_FOLDERS if not (self.folder.parent / name / "config.json").is_file()]

    def encode_stream(self, frames: Iterable) -> Iterator:
        """frames: chunks [n, height, width, 3] in 0..1, however cut → raw latents float32 [1, C, 1, H, W] on the CPU.

        Raises ValueError where the number of frames isn't time_factor·k + 1: the VAE would silently drop the rest.
        """
        facts = self.config
        if facts.whole:  # it wants them all at once, and their number decides about tiles
            frames = first = list(frames)
            count = sum(map(len, frames))
        else:
            first, frames = _first(frames)
            count = facts.time_factor
        if first and self.tile(self.module, *first[0].shape[1:3], count):
            cells = facts.tile // facts.space_factor
            yield from tiles.encoded(self._encoded, frames, cells, facts.space_factor, self.scratch)
        else:
            yield from self._encoded(frames)

    def _encoded(self, frames: Iterable) -> Iterator:
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
            self.alive()
            yield latent.float().cpu().clone()  # an ordinary tensor, outside of inference mode


def _first(frames: Iterable) -> tuple[list, Iterator]:
    """(the first in a list, or none; all of them)."""
    rest = iter(frames)
    first = list(islice(rest, 1))
    return first, chain(first, rest)


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
