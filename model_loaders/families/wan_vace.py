"""Wan VACE (WanVACETransformer3DModel): what is known and what is not reach it as two videos and a mask, beside x."""

from dataclasses import replace

from ...spacetime.model import Beside
from ...spacetime.names import CONTROL, REFERENCES, STRENGTH
from . import wan
from .wan_image import encoded, uncovered


def facts(config: dict, folder):
    own = wan.facts({**config, "image_dim": None}, folder)
    return replace(own, known_by=wan.BESIDE, follows=(CONTROL, STRENGTH, REFERENCES))


class Adapter(wan.Adapter):
    """As WanVACEPipeline does. It was trained to see a video everywhere, be it gray, and pictures before it."""

    reference_frames = 1

    def beside(self, known):
        import torch
        from torch.nn.functional import pad

        parts, left = self.of_cells(known) if known.pixels is None else self.of_pixels(known)
        batch, followed = len(known.cells), known.followed
        control = torch.cat([*parts[:2], parts[2].expand(-1, self.shades, -1, -1, -1)], 1).expand(batch, *[-1] * 4)
        if known.lead:  # the last picture first, as the pipeline has them
            seen = torch.cat([self.pictured(one, followed) for one in reversed(followed.references)], dim=2).to(control)
            seen = pad(seen, [0] * 6 + [0, control.shape[1] - seen.shape[1]]).expand(batch, *[-1] * 4)
            control = torch.cat([seen, control], dim=2)
            left = left if left is None else pad(left, [0] * 4 + [known.lead, 0], value=1)
        return Beside(control, {STRENGTH: followed.strength} if followed else {}, left)

    def of_cells(self, known):
        """Where only cells have come, they stand for the frames they hold: what is known, what is followed in the rest,
        where that is; and the cells that this doesn't cover."""
        free = (known.free != 0).float()
        return ((1 - free) * known.cells, free * self.course(known), free), known.free

    def of_pixels(self, known):
        """The same from the frames themselves, each as one video."""
        import torch
        from torch.nn.functional import interpolate

        active = torch.cat(list(known.pixels.encode(self.active(known))), dim=2).to(known.cells)
        free = interpolate((1 - known.pixels.mask)[None, None], size=known.cells.shape[2:], mode="nearest-exact")
        return (encoded(self, known), self.normalise(active), free.to(known.cells)), uncovered(known.free)

    def active(self, known):
        """The control video where nothing is known, gray elsewhere; without one, all gray."""
        import torch

        if not (known.followed and known.followed.frames):
            yield from (torch.full_like(frame, 0.5) for frame in known.pixels.frames())
        else:
            for frame, hole in zip(known.followed.frames(), known.pixels.holes(), strict=True):
                yield frame.where(hole > 0, torch.full_like(frame, 0.5))

    def pictured(self, picture, followed):
        """A picture [1, height, width, 3] whole in the middle of a white canvas, as normalised latents [1, C, 1, H, W];
        scaled as the pipeline does, with no smoothing."""
        from torch.nn.functional import interpolate

        height, width = picture.shape[1:3]
        scale = min(followed.size[0] / height, followed.size[1] / width)
        size = max(int(height * scale), 1), max(int(width * scale), 1)
        small = interpolate(picture.permute(0, 3, 1, 2) * 2 - 1, size=size, mode="bilinear", align_corners=False)
        canvas = small.new_ones(1, 3, *followed.size)
        top, left = ((whole - part) // 2 for whole, part in zip(followed.size, size, strict=True))
        canvas[:, :, top : top + size[0], left : left + size[1]] = small
        canvas = (canvas.permute(0, 2, 3, 1).double() + 1) / 2  # exactly what it was, once the encoder has doubled it
        return self.normalise(next(followed.encode([canvas])).to(self.mean))

    @property
    def shades(self) -> int:
        """Channels of the mask: the pixels of a cell."""
        return self.transformer.config.vace_in_channels - 2 * self.transformer.config.in_channels

    def predict(self, x, t, text, branch):
        expert = self.expert(t)
        own, layers = self.transformer.config.in_channels, len(self.transformer.config.vace_layers)
        with expert.cache_context(branch):
            return expert(
                hidden_states=x[:, :own].to(self.dtype),
                timestep=t.expand(x.shape[0]),
                encoder_hidden_states=text.embeddings,
                control_hidden_states=x[:, own:].to(self.dtype),
                control_hidden_states_scale=x.new_full((layers,), text.more.get(STRENGTH, 1.0), dtype=self.dtype),
                return_dict=False,
            )[0]
