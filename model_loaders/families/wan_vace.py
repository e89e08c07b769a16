"""Wan VACE (WanVACETransformer3DModel): what is known and what is not reach it as two videos and a mask, beside x."""

from dataclasses import replace

from ...spacetime.model import Beside
from . import wan
from .wan_image import encoded, uncovered


def facts(config: dict, folder):
    return replace(wan.facts({**config, "image_dim": None}, folder), known_by=wan.BESIDE)


class Adapter(wan.Adapter):
    """As WanVACEPipeline does. It was trained to see a video everywhere, be it gray."""

    def beside(self, known):
        import torch
        from torch.nn.functional import interpolate

        batch, size = len(known.cells), known.cells.shape[2:]
        if known.pixels is None:  # only cells have come: they stand for the frames they hold
            kept = (known.free == 0).float()
            control = [kept * known.cells, torch.zeros_like(known.cells), (1 - kept).expand(-1, self.shades, *size)]
            return Beside(torch.cat(control, dim=1), free=known.free)
        gray = (torch.full_like(frame, 0.5) for frame in known.pixels.frames())
        active = torch.cat(list(known.pixels.encode(gray)), dim=2).to(known.cells)
        free = interpolate((1 - known.pixels.mask)[None, None], size=size, mode="nearest-exact").to(known.cells)
        control = [encoded(self, known), self.normalise(active), free.expand(-1, self.shades, *size)]
        return Beside(torch.cat(control, dim=1).expand(batch, *[-1] * 4), free=uncovered(known.free))

    @property
    def shades(self) -> int:
        """Channels of the mask: the pixels of a cell."""
        return self.transformer.config.vace_in_channels - 2 * self.transformer.config.in_channels

    def predict(self, x, t, text, branch):
        expert = self.expert(t)
        own = self.transformer.config.in_channels
        with expert.cache_context(branch):
            return expert(
                hidden_states=x[:, :own].to(self.dtype),
                timestep=t.expand(x.shape[0]),
                encoder_hidden_states=text.embeddings,
                control_hidden_states=x[:, own:].to(self.dtype),
                return_dict=False,
            )[0]
