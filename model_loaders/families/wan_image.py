"""What Wan's image-to-video transformers take beside x: which frames are known, those frames encoded as one video whose
other frames are gray, and for Wan 2.1 the image as CLIP sees it."""

from ...spacetime.model import Beside


def beside(adapter, known, per_frame: int) -> Beside:
    """known: spacetime.model.Known; per_frame: channels of the mask, one for each frame that a cell holds."""
    import torch

    batch = len(known.cells)
    if known.pixels is None:  # only cells have come: they stand for the frames they hold
        kept = (known.free == 0).float()
        channels = torch.cat([kept.expand(-1, per_frame, -1, -1, -1), kept * known.cells], dim=1)
        return Beside(channels, image(adapter, known, batch), known.free)
    mask, cells = by_cell(known.pixels.mask, per_frame).to(known.cells), encoded(adapter, known)
    channels = torch.cat([mask, cells], dim=1).expand(batch, -1, -1, -1, -1)
    return Beside(channels, image(adapter, known, batch), uncovered(known.free))


def encoded(adapter, known):
    """The canvas as pixels, gray where nothing is known, as normalised latents [1, C, T, H, W]."""
    import torch

    raw = torch.cat(list(known.pixels.encode(known.pixels.frames())), dim=2)
    return adapter.normalise(raw.to(known.cells))


def uncovered(free):
    """The partly known cells, None where there are none: they go into x, for the mask only knows yes and no."""
    left = free.where(free > 0, 1)
    return left if (left < 1).any() else None


def by_cell(mask, per_frame: int):
    """mask [F, H, W] of frames → [1, per_frame, T, H, W]; the first cell holds one frame, which counts for all."""
    import torch

    whole = torch.cat([mask[:1].expand(per_frame, -1, -1), mask[1:]])
    return whole.unflatten(0, (-1, per_frame)).transpose(0, 1)[None]


def image(adapter, known, batch: int) -> dict:
    """The first frame, for first-last-frame models also the last, through CLIP: {"image": [B, 1 or 2, N, D]}; of a
    canvas with a reference picture, this."""
    config = adapter.transformer.config
    if not config.image_dim:
        return {}
    import torch

    frames = list(known.followed.references) if known.followed else []
    if not frames:
        frames = [torch.full((1, 224, 224, 3), 0.5)] if known.pixels is None else list(known.pixels.frames())
    seen = [frames[0], frames[-1]] if config.pos_embed_seq_len else frames[:1]
    pictures = [as_picture(frame) for frame in seen]
    encoder, prepare = adapter.neighbour("image_encoder"), adapter.neighbour("image_processor")
    pixels = prepare(images=pictures, return_tensors="pt").pixel_values.to(encoder.device, encoder.dtype)
    hidden = encoder(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    return {"image": hidden.to(adapter.device, adapter.dtype)[None].expand(batch, -1, -1, -1)}


def as_picture(frame):
    """[1, height, width, 3] in 0..1 → Pillow's."""
    from PIL import Image

    return Image.fromarray((frame[0] * 255).round().byte().cpu().numpy())
