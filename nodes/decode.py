"""From latents to pixels, as a stream or all at once; and latents to and from files, so that no sampling is lost."""

from functools import partial
from itertools import islice
from pathlib import Path

from . import runtime

SYNC = 0.25  # seconds that a model's sound may be shorter or longer than its video; it comes in pieces of its own
UNKNOWN_FPS = 16.0  # for latents of other packs, which don't say; Wan's own


class SpacetimeDecode:
    TITLE = "Decode"
    CATEGORY = "Spacetime/decode"
    DESCRIPTION = (
        "Latents to a video that is decoded while it is saved, one latent frame at a time: a minute takes no more "
        "memory than a second. A batch becomes as many videos."
    )
    RETURN_TYPES = ("VIDEO",)
    RETURN_NAMES = ("video",)
    OUTPUT_IS_LIST = (True,)
    OUTPUT_TOOLTIPS = ("The video, for Save Video.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "Keep the latent as a file in output/latents before decoding, so that a crash costs no sampling."
        return {
            "required": {
                "vae": ("SPACETIME_VAE", {"tooltip": "From Load VAE."}),
                "latent": ("LATENT", {"tooltip": "From Sample."}),
                "fps": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 240.0,
                        "step": 0.1,
                        "round": 0.001,
                        "tooltip": "Frames per second. 0 is the grid's.",
                    },
                ),
                "save_latent": ("BOOLEAN", {"default": False, "tooltip": tip}),
            }
        }

    def run(self, vae, latent, fps=0.0, save_latent=False):
        checked(vae, latent)
        if save_latent:
            write_latent(latent, "latents/spacetime")
        return (with_sound(as_video(vae, latent, fps or latent.get("fps") or UNKNOWN_FPS), vae, latent),)


class SpacetimeDecodeImages:
    TITLE = "Decode to Images"
    CATEGORY = "Spacetime/decode"
    DESCRIPTION = "Latents to all their frames at once, for nodes that work on images. Decode keeps less in memory."
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("images",)
    OUTPUT_TOOLTIPS = ("Every frame; videos of a batch one after another.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "vae": ("SPACETIME_VAE", {"tooltip": "From Load VAE."}),
                "latent": ("LATENT", {"tooltip": "From Sample."}),
            }
        }

    def run(self, vae, latent):
        import torch

        videos = as_video(vae, latent, UNKNOWN_FPS)
        count = sum(video.frame_count for video in videos)
        images = torch.empty(count, videos[0].height, videos[0].width, 3)  # filled as they come: half the peak of a cat
        bar, at = runtime.progress(count), 0
        for chunk in (chunk for video in videos for chunk in video.frames()):
            images[at : at + len(chunk)] = chunk
            at += len(chunk)
            bar.update(at)
        return (images,)


class SpacetimeSaveLatent:
    TITLE = "Save Latent (Spacetime)"
    CATEGORY = "Spacetime/decode"
    DESCRIPTION = "Keeps a latent as a file in ComfyUI's .latent format, frame rate and known cells included."
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The latent, unchanged.",)
    FUNCTION = "run"
    DRY_RUN = "plan"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "latent": ("LATENT", {"tooltip": "The latent to keep."}),
                "filename_prefix": (
                    "STRING",
                    {"default": "latents/spacetime", "tooltip": "Folder and beginning of the name, inside output/."},
                ),
            }
        }

    def plan(self, latent, filename_prefix):
        from ..media import names

        names.check_prefix(filename_prefix)
        return (latent,)

    def run(self, latent, filename_prefix):
        path = write_latent(latent, filename_prefix)
        subfolder = path.parent.relative_to(runtime.output_dir()).as_posix()
        shown = {"filename": path.name, "subfolder": "" if subfolder == "." else subfolder, "type": "output"}
        return {"ui": {"latents": [shown]}, "result": (latent,)}


class SpacetimeLoadLatent:
    TITLE = "Load Latent (Spacetime)"
    CATEGORY = "Spacetime/decode"
    DESCRIPTION = "A latent from a .latent file in input/ or output/, to decode it again or to go on from it."
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The latent as it was saved.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "latent": (list(latent_files()), {"tooltip": "Files in input/, and in output/ marked [output]."})
            }
        }

    @classmethod
    def IS_CHANGED(cls, latent):
        path = latent_files().get(latent)
        return path.stat().st_mtime_ns if path else ""

    def run(self, latent):
        return (read_latent(latent),)


def as_video(vae, latent: dict, fps: float) -> list:
    """One lazy VIDEO for each latent of the batch, the user's own frames in their places."""
    from ..media.video import StreamVideo
    from ..spacetime.canvas import spans_of, unrolled
    from ..spacetime.timeline import assemble, frame_count

    samples, spans = checked(vae, latent), spans_of(latent, vae.config.time_factor)
    before, sound = 0, partial(heard, latent, spans, fps)  # before: latent frames that only lead in
    if latent.get("ring"):
        samples, before = unrolled(latent)
    return [
        StreamVideo(
            lambda one=one: assemble(islice(vae.decode_stream(one), before, None), spans),
            width=samples.shape[4] * vae.config.space_factor,
            height=samples.shape[3] * vae.config.space_factor,
            frame_count=frame_count(spans),
            fps=fps,
            audio=sound,
        )
        for one in samples.split(1)
    ]


def heard(latent: dict, spans: tuple, fps: float, made: dict | None = None) -> dict | None:
    """The sound of the clips that a video shows, where it shows them; elsewhere of the clip that was restyled, or what
    the model `made` to be heard."""
    from fractions import Fraction

    from ..media import sound

    shown = [(span.source, span.frame_count) for span in spans if span.frame_count]
    rate, total, at = Fraction(fps).limit_denominator(1001), sum(count for _, count in shown), 0
    try:
        own = [source.get_audio() if source else None for source, _ in shown]
        restyled = latent.get("heard")
        if made is None and restyled and (track := restyled.get_audio()):
            if restyled.frame_count != total:
                runtime.notice("the clip's sound is left out: another node has cut the latent since")
            else:
                made = track
        own_rate = latent.get("fps") or fps
        if (any(own) or made) and abs(fps / own_rate - 1) > 1e-3:
            return runtime.notice(f"at {fps:g} frames per second instead of {own_rate:g} the sound is left out")
        if not any(own):
            return made
        for i, (_, count) in enumerate(shown):
            own[i] = own[i] or sound.cut(made, at / rate, (at + count) / rate)
            at += count
        return sound.joined(own, [count / rate for _, count in shown])
    except Exception as error:  # no reason to lose what was sampled
        return runtime.notice(f"the sound is left out: {error}")


def with_sound(videos: list, vae, latent: dict) -> list:
    """The videos with what the model made to be heard with them, where it did and the VAE's neighbours can read it, and
    where they don't show clips that have a sound of their own."""
    if latent.get("sound") is None:
        return videos
    made = vae.sound(latent["sound"])
    if made is None:
        missing = " and ".join(f"{name}/" for name in vae.unheard_without()) or "what decodes it"
        runtime.notice(
            f"the sound made with this video isn't heard: the VAE has no {missing} beside it; take the VAE of a "
            "diffusers folder of LTX-2"
        )
        return videos
    length, wanted = made["waveform"].shape[2] / made["sample_rate"], videos[0].get_duration()
    if abs(length - wanted) > SYNC or len(made["waveform"]) != len(videos):
        runtime.notice(f"the sound was made for {length:.1f} s of video, these are {wanted:.1f} s: it is left out")
        return videos
    for video, wave in zip(videos, made["waveform"].split(1), strict=True):
        video.audio = partial(video.audio, made={**made, "waveform": wave})
    return videos


def checked(vae, latent: dict):
    """The latent's samples [B, C, T, H, W], if they are this VAE's."""
    from ..spacetime.canvas import cells

    samples, _ = cells(latent)
    if samples.shape[1] != vae.config.channels:
        raise ValueError(
            f"this latent has {samples.shape[1]} channels, the VAE {vae.config.channels}: load the VAE it was made with"
        )
    return samples


def write_latent(latent: dict, prefix: str) -> Path:
    """ComfyUI's .latent: a safetensors file with `latent_tensor`, and our noise_mask and fps beside."""
    import torch
    from safetensors.torch import save

    from ..media.names import explained, publish_numbered, split_prefix, whole

    subfolder, stem = split_prefix(prefix)
    folder = runtime.output_dir() / subfolder
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    tensors = {"latent_tensor": latent["samples"].contiguous(), "latent_format_version_0": torch.tensor([])}
    if latent.get("noise_mask") is not None:
        tensors["noise_mask"] = latent["noise_mask"].contiguous()
    if latent.get("sound") is not None:
        tensors["sound"] = latent["sound"].contiguous()
    metadata = {key: str(latent[key]) for key in ("fps", "ring") if latent.get(key)}
    if latent.get("timeline"):
        runtime.notice("a .latent file keeps the cells, not your own frames; save the video to keep those bit for bit")
    elif latent.get("heard"):
        runtime.notice("a .latent file keeps the cells, not the clip's sound; save the video to keep that")
    with whole(folder / f"{stem}.latent") as temporary:
        with explained(folder / f"{stem}.latent"):
            temporary.write_bytes(save(tensors, metadata))  # not save_file, whose files only their owner can read
        return publish_numbered(temporary, folder, stem, ".latent")


def read_latent(name: str) -> dict:
    from safetensors import safe_open

    from ..model_loaders.checkpoint import CheckpointError, read_header

    path = latent_files().get(name)
    if path is None:
        raise FileNotFoundError(f"latent {name!r} isn't in input/ or output/")
    if "latent_tensor" not in read_header(path):
        raise CheckpointError(f"{name} is no latent: it holds no 'latent_tensor'")
    with safe_open(path, framework="pt") as file:
        keys, metadata = set(file.keys()), file.metadata() or {}
        latent = {"samples": file.get_tensor("latent_tensor").float()}
        if "latent_format_version_0" not in keys:
            latent["samples"] /= 0.18215  # ComfyUI's first .latent files held scaled latents
        if "noise_mask" in keys:
            latent["noise_mask"] = file.get_tensor("noise_mask")
        if "sound" in keys:
            latent["sound"] = file.get_tensor("sound")
    if metadata.get("ring"):
        latent["ring"] = True
    if metadata.get("fps"):
        latent["fps"] = float(metadata["fps"])
    return latent


def latent_files() -> dict[str, Path]:
    """name as shown → path."""
    found = {}
    for root, mark in ((runtime.input_dir(), ""), (runtime.output_dir(), " [output]")):
        if root.is_dir():
            found |= {path.relative_to(root).as_posix() + mark: path for path in sorted(root.rglob("*.latent"))}
    return found


NODES = [SpacetimeDecode, SpacetimeDecodeImages, SpacetimeSaveLatent, SpacetimeLoadLatent]
