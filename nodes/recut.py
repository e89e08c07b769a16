"""The cutting room: parts of clips kept, dropped and mixed."""

import math

from ..spacetime.curves import CURVES, CUSTOM, EXAMPLE, parsed, weights
from . import runtime
from .footage import (
    CONTEXT,
    FIT,
    SIZE_OF,
    VAE,
    as_batch,
    as_long_as_the_grid,
    encoder_of,
    footage,
    on_canvas,
    one_clip,
    planned,
    rate_of,
    sized_as,
    told,
)

LENGTHS = ("same", "chosen")


def seconds(tip: str, default: float = 0.0, least: float = -600.0) -> tuple:
    return ("FLOAT", {"default": default, "min": least, "max": 600.0, "step": 0.01, "tooltip": tip})


START = seconds("Second at which the part begins. Less than 0 counts from the end.")
END = seconds("Second at which the part ends. 0 is the end, less than 0 counts from it.")


class SpacetimeTrim:
    TITLE = "Trim"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = "A part of a video, from one second to another, with its sound. No frame is changed."
    RETURN_TYPES = ("VIDEO",)
    RETURN_NAMES = ("video",)
    OUTPUT_TOOLTIPS = ("The part, read from the video while it is used.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"video": ("VIDEO", {"tooltip": "The video to cut."}), "start": START, "end": END}}

    def run(self, video, start, end):
        from ..media.video import as_stream
        from ..spacetime.recut import frames_between

        video = as_stream(video)
        rate = video.get_frame_rate()
        first, last = frames_between(start, end, video.get_frame_count(), float(rate))
        part = video.as_trimmed(first / rate, (last - first) / rate)
        return runtime.shown(f"{last - first} frames, {part.get_duration():.2f} s", part)


class SpacetimeJoinClips:
    TITLE = "Join Clips"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Shows one clip after another, with a hard cut between them: the shots of a film. Connect instead makes new "
        "video that leads from one to the other."
    )
    RETURN_TYPES = ("VIDEO",)
    RETURN_NAMES = ("video",)
    OUTPUT_TOOLTIPS = ("All clips as one video, of the first one's size and frame rate.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        def clip(name: str) -> tuple:
            return ("VIDEO", {"tooltip": f"{name}. Brought to the first one's size and frame rate, which is said."})

        return {
            "required": {"first": ("VIDEO", {"tooltip": "The first clip, as it is."}), "second": clip("The second"),
                         "fit": FIT},
            "optional": {"third": clip("The third"), "fourth": clip("The fourth")},
        }  # fmt: skip

    def run(self, first, second, fit, third=None, fourth=None):
        from ..media.join import joined
        from ..media.video import as_stream

        film, said = joined([as_stream(clip) for clip in (first, second, third, fourth) if clip is not None], fit)
        for line in said:
            runtime.notice(line)
        return runtime.shown(f"{film.frame_count} frames, {film.get_duration():.2f} s", film)


class SpacetimeTrimLatent:
    TITLE = "Trim Latent"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "A part of a latent video, from one second to another. At its end cells are cut off; at its start the VAE "
        "decodes the part and encodes it anew, because a latent's first cell holds one frame and the others several. "
        "Decode shows the same frames either way."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The part as a latent.",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        latent = ("LATENT", {"tooltip": "From Sample: a finished video of known frame rate."})
        return {"required": {"vae": VAE, "latent": latent, "start": START, "end": END}}

    def run(self, vae, latent, start, end):
        from ..spacetime.canvas import Part, spans_of, whole_frames
        from ..spacetime.grid import snap_frames
        from ..spacetime.recut import frames_between, recoded, shortened
        from ..spacetime.timeline import frame_count
        from .decode import as_video

        rate, factor = rate_of(latent), vae.config.time_factor
        videos = as_video(vae, latent, rate)
        total = videos[0].get_frame_count()
        first, last = frames_between(start, end, total, rate)
        cut = None if first else shortened(latent, last, factor)
        if cut is None:
            count = min(snap_frames(last - first, factor), whole_frames(total - first, factor))
            cut = recoded(latent, [Part(video, first, first + count) for video in videos], encoder_of(vae))
            if len(videos) > 1:
                runtime.notice("a batch is encoded anew for this cut: Decode shows what the VAE keeps of it")
        count = frame_count(spans_of(cut, factor))
        if count != last - first:
            runtime.notice(f"{last - first} frames → {count} (whole latent frames of {factor})")
        return runtime.shown(f"{count} frames, {count / rate:.2f} s", cut)


class SpacetimeRecut:
    TITLE = "Recut"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Keeps the best part of a clip, every frame of it as it was, and makes the rest anew: as long as it was, or of "
        "a chosen length before and after."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The canvas around the part, for the sampler. Decode puts the part back.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "vae": VAE,
                "latent": SIZE_OF,
                "start": seconds("Second of the clip from which on it is kept. Less than 0 counts from its end."),
                "end": seconds("Second up to which it is kept. 0 is the clip's end, less than 0 counts from it."),
                "length": (
                    list(LENGTHS),
                    {
                        "default": LENGTHS[0],
                        "tooltip": "same: the video stays as long as the clip, the part where it was. chosen: before "
                        "and after say how much new video there is.",
                    },
                ),
                "before": seconds("With length chosen: new video before the part, in whole latent frames.", 1.0, 0.0),
                "after": seconds("With length chosen: new video after the part, in whole latent frames.", 1.0, 0.0),
                "context": CONTEXT,
                "fit": FIT,
            },
            "optional": one_clip(),
        }

    def run(
        self, vae, latent, start, end, length, before, after, context, fit, video=None, images=None, clip=None
    ):  # fmt: skip
        from ..spacetime.canvas import Part, extend
        from ..spacetime.recut import frames_between, recut

        check_sides(before, after)
        source, rate = on_canvas(vae, latent, fit, images=images, video=video, latent_clip=clip), rate_of(latent)
        first, last = frames_between(start, end, source.frame_count, rate)
        encoder, empty = encoder_of(vae), sized_as(latent)
        if length == "chosen":
            part = Part(source, first, last)
            made = extend(part, after * rate, before * rate, encoder, empty, context * rate)
        else:
            made = recut(source, first, last, encoder, empty)
            kept = sum(span.frame_count for span in made["timeline"] if span.source)
            if kept > last - first:
                runtime.notice(
                    f"{kept} frames are kept for {last - first}: only whole latent frames of {encoder.time_factor} "
                    "can be known"
                )
        return runtime.shown(told(made, rate), made)

    def plan(
        self, vae, latent, start, end, length, before, after, context, fit, video=None, images=None, clip=None
    ):  # fmt: skip
        check_sides(before, after)
        if length == "same" or latent is None or vae is None:
            return (as_long_as_the_grid(latent),)
        sides = [round(side * latent["fps"] / vae.config.time_factor) for side in (before, after)]
        new = sum(sides) * vae.config.time_factor / latent["fps"]
        return planned(vae, latent, new, 1, sum(side > 0 for side in sides), context)


def check_sides(before: float, after: float):
    if not (0 <= before < math.inf and 0 <= after < math.inf):
        raise ValueError(f"before {before:g} s and after {after:g} s can't be; both are seconds from 0 on")


class SpacetimeBlend:
    TITLE = "Blend"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "One video out of two clips: a curve says how much each counts over time. Their latents are mixed, noised as "
        "far as strength says and denoised from there, so that the model makes one scene of them."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The mixed clips as a canvas, for the sampler, whose denoise it turns down.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "vae": VAE,
                "latent": SIZE_OF,
                "curve": (
                    [*CURVES, CUSTOM],
                    {
                        "default": "smooth",
                        "tooltip": "How the second clip takes over, from the first frame to the last. custom is what "
                        "keypoints says.",
                    },
                ),
                "keypoints": (
                    "STRING",
                    {
                        "default": EXAMPLE,
                        "tooltip": "With curve custom: time:weight pairs. Time in seconds, weight from 0 (the first "
                        "clip) to 1 (the second); straight lines between them.",
                    },
                ),
                "strength": (
                    "FLOAT",
                    {
                        "default": 0.7,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "display": "slider",
                        "tooltip": "How far the model may depart from the mix. 0 is the mix itself, where each clip "
                        "shows through the other; 1 keeps nothing of it.",
                    },
                ),
                "keep_ends": (
                    "BOOLEAN",
                    {
                        "default": True,
                        "tooltip": "Where the curve is exactly 0 or 1, that clip's frames are in the video bit for "
                        "bit: it begins as the first clip and ends as the second.",
                    },
                ),
                "fit": FIT,
                "first": footage("The clip that counts where the curve is 0", "VIDEO"),
                "second": footage("The clip that counts where the curve is 1", "VIDEO"),
            }
        }

    def run(self, vae, latent, curve, keypoints, strength, keep_ends, fit, first, second):
        from ..spacetime.canvas import whole_frames
        from ..spacetime.recut import blend

        clips, rate = [on_canvas(vae, latent, fit, video=clip) for clip in (first, second)], rate_of(latent)
        counts, factor = [clip.frame_count for clip in clips], vae.config.time_factor
        count = whole_frames(min(counts), factor)
        if count < 1 + factor:
            raise ValueError(
                f"clips of {counts[0]} and {counts[1]} frames are too short to blend; at least {1 + factor}"
            )
        if max(counts) > count:
            runtime.notice(f"{counts[0]} and {counts[1]} frames → {count}: as long as the shorter ({factor}k+1)")
        w = weights(curve, keypoints, (count - 1) // factor + 1, factor / rate, min(counts) / rate)
        made = blend(*clips, w, strength, encoder_of(vae), keep_ends)
        return runtime.shown(f"{count} frames, {count / rate:.2f} s", as_batch(made, latent))

    def plan(self, vae, latent, curve, keypoints, strength, keep_ends, fit, first=None, second=None):
        if curve == CUSTOM:
            parsed(keypoints)
        return (as_long_as_the_grid(latent, denoise=strength),)


NODES = [SpacetimeTrim, SpacetimeJoinClips, SpacetimeTrimLatent, SpacetimeRecut, SpacetimeBlend]
