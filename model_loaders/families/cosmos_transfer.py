"""Cosmos-Transfer2.5: Predict2.5's transformer, and a ControlNet (CosmosControlNetModel) that adds to some of its
blocks what a video of edges, blur, depth or segments tells."""

from dataclasses import replace
from types import SimpleNamespace

from ...spacetime.names import CONTROL, STRENGTH
from ..checkpoint import CheckpointError
from ..folders import keep_beside, sibling_json
from ..partners import CONTROLNET
from . import cosmos
from .wan_vae import statistics

KNOWN_TIME = 0.1


def resize(mask, size, interpolation):
    from torch.nn.functional import interpolate

    return interpolate(mask, size=size)  # the nearest


WITHOUT_TORCHVISION = SimpleNamespace(
    functional=SimpleNamespace(resize=resize), InterpolationMode=SimpleNamespace(NEAREST="nearest")
)


def facts(config: dict, folder):
    if not config.get("controlnet_block_every_n"):
        raise CheckpointError(
            f"{folder} is a ControlNet of Cosmos-Transfer2.5: put it into its pipeline as controlnet/ and choose that"
        )
    keep_beside(folder, "follows a control video through a ControlNet", CONTROLNET)
    own, control = cosmos.facts(config, folder), sibling_json(folder, CONTROLNET, "config.json")
    found = control.get("n_controlnet_blocks", 4), control.get("model_channels", 2048)
    wanted = -(-config["num_layers"] // config["controlnet_block_every_n"]), own.width
    if found != wanted:
        what = "{} blocks, {} wide"
        raise CheckpointError(
            f"{folder} and the ControlNet beside it don't fit: that has {what.format(*found)}; {what.format(*wanted)} "
            "would be right"
        )
    return replace(
        own,
        known_by=f"clean, at time {KNOWN_TIME}",
        neighbours=(CONTROLNET,),
        follows=(CONTROL, STRENGTH),
        control_maps=found[0] + 1,
    )


class Adapter(cosmos.Adapter):
    """As Cosmos2_5_TransferPipeline does, without its guards. Where no control video lies nothing is added."""

    known_time = KNOWN_TIME

    def __init__(self, transformer, dit, beside=None):
        import torch
        from diffusers.models.controlnets import controlnet_cosmos

        super().__init__(transformer, dit, beside)
        self.std = torch.tensor(statistics(dit.vae)[1], device=self.device).view(1, -1, 1, 1, 1)
        self.controlnet = beside(CONTROLNET)
        # it resizes a mask of zeros with torchvision, which isn't for every torch
        if not hasattr(controlnet_cosmos, "transforms"):
            controlnet_cosmos.transforms = WITHOUT_TORCHVISION

    def normalise(self, latent):
        return (latent - self.mean) / self.std

    def denormalise(self, x):
        return x * self.std + self.mean

    def times(self, x, t):
        return super().times(x, t.to(self.dtype).float())

    def beside(self, known):
        """channels: what is known; where it follows a control video, where that lies and its latents too."""
        import torch

        own, followed = super().beside(known), known.followed
        if followed is None or followed.cells is None:
            return own
        where = followed.where.to(known.cells)[:, None, None].expand_as(own.channels)
        channels = torch.cat([own.channels, where, self.course(known)], dim=1)
        return replace(own, channels=channels, text={STRENGTH: followed.strength})

    def predict(self, x, t, text, branch):
        config, times, context = self.transformer.config, self.times(x, t), text.embeddings
        if config.img_context_dim_in:  # its place for pictures, which the pipeline leaves empty
            context = context, context.new_zeros(len(x), config.img_context_num_tokens, config.img_context_dim_in)
        own, where, course = x[:, : config.in_channels], *x[:, config.in_channels :].tensor_split([1], dim=1)
        added = None
        if text.more.get(STRENGTH) and where.any():
            added = self.added(own, where, course, times, context, text.more[STRENGTH])
        return self.denoised(own, times, context, block_controlnet_hidden_states=added)

    def added(self, x, where, course, times, context, strength):
        """To some blocks' tokens, [B, N, D] each."""
        x, known = x.to(self.dtype).tensor_split([-1], dim=1)
        padding = x.new_zeros(1, 1, *x.shape[3:])  # as large as it would be resized to
        blocks = self.controlnet(
            controls_latents=course.to(self.dtype), latents=x, timestep=times, encoder_hidden_states=context,
            condition_mask=known, conditioning_scale=strength, padding_mask=padding, return_dict=False,
        )[0]  # fmt: skip
        if where.all():
            return blocks
        t, h, w = self.patch
        there = where[:, 0, ::t, ::h, ::w].flatten(1)[..., None].to(self.dtype)
        return [block * there for block in blocks]
