"""Wan 2.2 Animate (WanAnimateTransformer3DModel): the character of a picture moves as the poses of a control video and
makes its faces; or takes somebody's place in a clip, in a region made anew."""

from dataclasses import replace

from ...media.fit import resized
from ...spacetime.names import CONTROL, FACE, REFERENCES
from . import wan, wan_image

TRAINED = (20, 160, 160)  # 77 frames at up to 1280×720
SHIFT = {"flow_shift": 5.0}
KNOWN = "beside x, as pixels with the rest in gray and a region's in black"
ADVICE = "it shows the character of Reference Images as Control Video moves; guidance 1 and 20 steps are right for it"


def facts(config: dict, folder):
    own = wan.facts(config, folder)
    scheduler = {**own.scheduler, **(SHIFT if own.scheduler is wan.DEFAULT_SCHEDULER else {})}
    follows = CONTROL, FACE, REFERENCES
    return replace(own, trained_cells=TRAINED, scheduler=scheduler, known_by=KNOWN, follows=follows, advice=ADVICE)


class Adapter(wan.Adapter):
    """As WanAnimatePipeline does: the picture is a latent frame before the video's, in every window; what is known of
    these lies beside x as image-to-video's does, the poses after it."""

    blank = 0.0  # poses are drawn on black

    @classmethod
    def intro(cls, references):
        return 1  # also for no picture

    def beside(self, known):
        """channels [B, 4 + C + C + 1, 1 + T, H, W]: which frames are known, these, the poses, and which frame of the
        canvas it is; text: the face as pixels in -1..1, [B, F, 3, side, side]."""
        import torch
        from torch.nn.functional import pad

        shown = known.pixels and replace(known.pixels, frames=lambda: cut_out(known.pixels))
        video = wan_image.beside(self, replace(known, pixels=shown), self.shades)
        character = self.character(known).expand(len(known.cells), -1, -1, -1, -1)
        first = torch.cat([torch.ones_like(video.channels[:, : self.shades, :1]), character], dim=1)
        count = torch.arange(known.cells.shape[2]).to(known.cells).view(1, 1, -1, 1, 1).expand_as(known.cells[:, :1])
        poses = pad(torch.cat([self.course(known), count], dim=1), [0] * 4 + [1, 0])
        channels = torch.cat([torch.cat([first, video.channels], dim=2), poses], dim=1)
        left = video.free if video.free is None else pad(video.free, [0] * 4 + [1, 0], value=1)
        faces = self.faces(known).expand(len(known.cells), -1, -1, -1, -1)
        return replace(video, channels=channels, text={**video.text, FACE: faces}, free=left)

    @property
    def shades(self) -> int:
        """Channels of the mask: one for each frame that a cell holds."""
        return self.transformer.config.in_channels - 2 * self.transformer.config.out_channels

    def character(self, known):
        """The reference picture as normalised latents [1, C, 1, H, W], whole in the middle of black and scaled by
        Pillow as the pipeline does; nothing where there is none."""
        import numpy as np
        import torch
        from PIL import Image

        if not (known.followed and known.followed.references):
            return torch.zeros_like(known.cells[:1, :, :1])
        (height, width), picture = known.followed.size, wan_image.as_picture(known.followed.references[0])
        wide, tall = picture.width * height // picture.height, picture.height * width // picture.width
        narrow = width / height < picture.width / picture.height
        size = (width, tall) if narrow else (wide, height)
        canvas = Image.new("RGB", (width, height))
        canvas.paste(
            picture.resize(size, Image.Resampling.LANCZOS), (width // 2 - size[0] // 2, height // 2 - size[1] // 2)
        )
        pixels = torch.from_numpy(np.array(canvas).astype(np.float32) / 255)[None]
        return self.normalise(next(known.followed.encode([pixels])).to(known.cells))

    def faces(self, known):
        """[1, F, 3, side, side]; F = 1 where there is none, of which the pipeline's is black."""
        import torch

        side = self.transformer.config.motion_encoder_size
        if not (known.followed and known.followed.faces):
            return torch.full((1, 1, 3, side, side), -1.0, device=self.device, dtype=self.dtype)
        frames = (resized(frame, side, side, "cover") * 2 - 1 for frame in known.followed.faces())
        return torch.cat([frame.to(self.device, self.dtype) for frame in frames]).permute(0, 3, 1, 2)[None]

    def predict(self, x, t, text, branch):
        own, channels = self.transformer.config.in_channels, self.transformer.config.out_channels
        x, poses, count = x.split([own, channels, 1], dim=1)
        first, frames = self.shades * int(count[0, 0, 1, 0, 0]), self.shades * (x.shape[2] - 2) + 1
        faces = text.more[FACE]
        faces = faces[:, first : first + frames] if faces.shape[1] > 1 else faces.expand(-1, frames, -1, -1, -1)
        unseen = {"pred_uncond": len(x), "both": len(x) // 2}.get(branch, 0)  # guidance is away from no face
        if unseen:
            faces = faces.clone()  # laid out as it is, which the last bits depend on
            faces[:unseen] = -1
        with self.transformer.cache_context(branch):
            return self.transformer(
                hidden_states=x.to(self.dtype),
                timestep=t.expand(len(x)),
                encoder_hidden_states=text.embeddings,
                encoder_hidden_states_image=text.more["image"].flatten(0, 1),
                pose_hidden_states=poses[:, :, 1:].to(self.dtype),
                face_pixel_values=faces.transpose(1, 2),
                return_dict=False,
            )[0]


def cut_out(pixels):
    """Its frames; a region made anew is black, as the makers' backgrounds are."""
    for frame, hole in zip(pixels.frames(), pixels.holes(), strict=True):
        yield frame if hole.numel() == 1 else frame.where(hole == 0, 0.0)
