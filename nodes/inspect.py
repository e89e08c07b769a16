"""The measuring shelf: what a finished video is like, as a report, as a plot, and as a gate that stops a run."""

from dataclasses import dataclass
from itertools import pairwise

from . import runtime

KINDS = {"error": "error", "structure": "structure", "flow": "optical flow", "hitch": "hitch"}


def limit(tip: str, largest: float, step: float = 0.1) -> tuple:
    return (
        "FLOAT",
        {"default": 0.0, "min": 0.0, "max": largest, "step": step, "tooltip": f"{tip} 0 doesn't check it."},
    )


class SpacetimeInspect:
    TITLE = "Inspect"
    CATEGORY = "Spacetime/inspect"
    DESCRIPTION = (
        "Measures a video from its pixels alone, without a model: seams, wrap, cross-fades, drift, flicker, motion and "
        "the number of frames. A limit that isn't kept stops the run, so that nothing after it is made or saved."
    )
    RETURN_TYPES = ("VIDEO", "IMAGE", "STRING")
    RETURN_NAMES = ("video", "plot", "report")
    OUTPUT_TOOLTIPS = ("The video, unchanged; it has kept all limits.", "The figures over time.", "The figures.")
    FUNCTION = "run"
    DRY_RUN = "plan"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        joins = (
            "Where clips meet: the seconds at which the next one begins, such as 2.0, 4.5, or its first frame, counted "
            "from 0, with an f: 16f, 36f. Empty: nowhere."
        )
        dissolve = "Refuse a stretch between two joins that is nothing but a cross-fade of the frames on its two sides."
        frames = {"default": 0, "min": 0, "max": 1_000_000, "step": 1}
        return {
            "required": {
                "video": ("VIDEO", {"tooltip": "The video to measure. It is decoded once for it."}),
                "joins": ("STRING", {"default": "", "tooltip": joins}),
                "loop": (
                    "BOOLEAN",
                    {"default": False, "tooltip": "Measure the step from the last frame to the first."},
                ),
                "max_seam": limit("How many times a join may stand out from the steps around it; try 2.", 100.0),
                "max_wrap": limit("The same for the step from the last frame to the first; try 2.", 100.0),
                "refuse_dissolve": ("BOOLEAN", {"default": False, "tooltip": dissolve}),
                "max_colour_drift": limit("Largest CIEDE2000 from the first to the last 15 %; try 5.", 100.0),
                "max_contrast_drift": limit("Largest ratio of contrast, up or down; try 1.3.", 100.0, 0.01),
                "max_texture_drift": limit("Largest ratio of fine texture, up or down; try 1.5.", 100.0, 0.01),
                "max_flicker": limit("Largest jitter of the brightness, in 255ths; try 1.", 255.0),
                "min_motion": limit("Least motion, in percent of the longer side per second; try 0.5.", 1000.0),
                "min_coherence": limit("Least ratio of two steps' distance to one's; try 1.15.", 2.0, 0.01),
                "frames": ("INT", {**frames, "tooltip": "The exact number of frames. 0 doesn't check it."}),
            }
        }

    def plan(self, video, joins, loop, max_seam, max_wrap, refuse_dissolve, max_colour_drift, max_contrast_drift,
             max_texture_drift, max_flicker, min_motion, min_coherence, frames):  # fmt: skip
        times = parsed(joins)
        for name, value in {"max_contrast_drift": max_contrast_drift, "max_texture_drift": max_texture_drift}.items():
            if 0 < value < 1:
                raise ValueError(f"{name} {value:g} can't be kept: 1 is no drift; more than 1, or 0, would be right")
        if max_seam and not times:
            raise ValueError(f"max_seam {max_seam:g} has no join to check; name one in joins, or set max_seam to 0")
        if max_wrap and not loop:
            raise ValueError(f"max_wrap {max_wrap:g} has nothing to check; switch loop on, or set max_wrap to 0")
        if refuse_dissolve and len(times) < 2:
            raise ValueError(
                f"refuse_dissolve needs two joins, where a stretch begins and ends; joins has {len(times)}"
            )
        return video, None, None

    def run(self, video, joins, loop, max_seam, max_wrap, refuse_dissolve, max_colour_drift, max_contrast_drift,
            max_texture_drift, max_flicker, min_motion, min_coherence, frames):  # fmt: skip
        from ..media.video import as_stream
        from ..spacetime import quality

        self.plan(video, joins, loop, max_seam, max_wrap, refuse_dissolve, max_colour_drift, max_contrast_drift,
                  max_texture_drift, max_flicker, min_motion, min_coherence, frames)  # fmt: skip
        stream = as_stream(video)
        fps, promised = float(stream.get_frame_rate()), stream.get_frame_count()
        cuts = frames_of(parsed(joins), fps, promised)
        bar = runtime.progress(promised)
        stretches = [(first - 1, last) for first, last in pairwise(cuts)]
        measures = quality.measure(stream.frames(), stretches, bar.update)

        found = [
            counted(len(measures), promised, fps, frames),
            *(seam(quality.seam_scores(measures, cut), f"seam {at(cut, fps)}", max_seam) for cut in cuts),
            *([seam(quality.wrap_scores(measures), "wrap", max_wrap)] if loop else []),
            *(stretch(one, refuse_dissolve) for one in measures.dissolves),
            *drifted(quality.drift(measures), max_colour_drift, max_contrast_drift, max_texture_drift),
            flickered(*quality.flicker(measures), fps, max_flicker),
            moved(quality.motion(measures, fps), min_motion),
            cohered(quality.coherence(measures), min_coherence),
        ]
        return concluded(video, plotted(measures, cuts, found), found)


@dataclass(frozen=True)
class Found:
    """A figure as a line of the report; `wrong` says which limit it doesn't keep."""

    line: str
    wrong: str = ""


def parsed(joins: str) -> list[tuple[float, str]]:
    """ "2.0, 36f" → [(2.0, "s"), (36, "f")]."""
    times = []
    for word in joins.replace(",", " ").lower().split():
        try:
            number, unit = (int(word[:-1]), "f") if word.endswith("f") else (float(word.removesuffix("s")), "s")
        except ValueError:
            number, unit = -1, ""
        if not 0 <= number < 1e6:
            raise ValueError(f"joins {word!r} can't be; seconds such as 2.0, or frames such as 36f, would be right")
        times.append((number, unit))
    return times


def frames_of(times: list[tuple[float, str]], fps: float, count: int) -> list[int]:
    """Each join's first frame, in order."""
    cuts = sorted({round(number * fps) if unit == "s" else number for number, unit in times})
    for cut in cuts:
        if not 0 < cut < count:
            raise ValueError(
                f"no clips meet {at(cut, fps)}: the video has frames 0 to {count - 1} ({count / fps:.2f} s); "
                "a join is the first frame of the later clip"
            )
    return cuts


def at(frame: int, fps: float) -> str:
    return f"at frame {frame} ({frame / fps:.2f} s)"


# ---- figure → line, and what is wrong with it. `not … <=` rather than `>`: what is no number keeps no limit ---------


def counted(count: int, promised: int, fps: float, wanted: int) -> Found:
    line = f"{count} frames, {count / fps:.2f} s"
    if count != promised:
        line += f", of {promised} promised"
    return Found(line, f"{count} frames, exactly {wanted} would be right" if wanted and count != wanted else "")


def seam(scores: dict[str, float], name: str, most: float) -> Found:
    line = f"{name}: " + ", ".join(f"{KINDS[kind]} {score:.2f}" for kind, score in scores.items())
    over = [f"{KINDS[kind]} {score:.2f}" for kind, score in scores.items() if most and not score <= most]
    return Found(line, f"{name}: {', '.join(over)} times the usual step, at most {most:g}" if over else "")


def stretch(dissolve, refuse: bool) -> Found:
    from ..spacetime.quality import DISSOLVED

    name = f"frames {dissolve.first + 1}-{dissolve.last - 1}"
    if not dissolve.distinct:
        return Found(f"{name}: both sides are alike, no cross-fade could be told")
    line = f"{name}: {'a' if dissolve.found else 'no'} cross-fade ({dissolve.residual:.2f}, below {DISSOLVED} is one)"
    return Found(line, f"{name} only cross-fade what is on their two sides" if refuse and dissolve.found else "")


def drifted(drift: dict[str, float], most_colour: float, most_contrast: float, most_texture: float) -> list[Found]:
    wrong = f"colour drifts by {drift['colour']:.2f} CIEDE2000, at most {most_colour:g}"
    found = [
        Found(f"colour drift: {drift['colour']:.2f} CIEDE2000", within(drift["colour"], most_colour, wrong)),
    ]
    for name, most in (("contrast", most_contrast), ("texture", most_texture)):
        ratio = drift[name]
        wrong = f"{name} drifts to {ratio:.2f} times the first, at most {most:g} up or down"
        found.append(Found(f"{name} drift: {ratio:.2f} times", within(max(ratio, 1 / max(ratio, 1e-6)), most, wrong)))
    return found


def flickered(jitter: float, first: int, fps: float, most: float) -> Found:
    line = f"flicker: {jitter:.2f} of 255, worst from frame {first} on" if jitter >= 0.01 else "flicker: none"
    wrong = f"brightness flickers by {jitter:.2f} of 255 {at(first, fps)}, at most {most:g}"
    return Found(line, within(jitter, most, wrong))


def moved(amount: float, least: float) -> Found:
    line = f"motion: {amount:.2f} % of the longer side per second"
    wrong = f"motion is {amount:.2f} % of the longer side per second, at least {least:g}"
    return Found(line, wrong if least and not amount >= least else "")


def cohered(ratio: float | None, least: float) -> Found:
    if ratio is None:
        return Found("coherence: nothing moves")
    wrong = f"coherence is {ratio:.2f}, at least {least:g}: frames stand in no order"
    return Found(f"coherence: {ratio:.2f}", wrong if least and not ratio >= least else "")


def within(value: float, most: float, wrong: str) -> str:
    return wrong if most and not value <= most else ""


def plotted(measures, cuts: list[int], found: list[Found]):
    from ..media.plot import Curve, plot

    curves = [
        Curve("error", measures.error[:-1].tolist(), "#6cb6ff", 0.01),
        Curve("structure", measures.structure[:-1].tolist(), "#7ee0a5", 0.01),
        Curve("optical flow", measures.speed[:-1].tolist(), "#d69bff", 0.005),
        Curve("luminance", measures.luminance.tolist(), "#f7dc8a", 0.05, from_zero=False),
    ]
    return plot(curves, cuts, len(measures), [(one.line, bool(one.wrong)) for one in found])


def concluded(video, picture, found: list[Found]) -> dict:
    """Shows the report and the plot; raises where a limit isn't kept."""
    import numpy as np
    import torch

    from ..media.write import save_numbered

    image = torch.from_numpy(np.array(picture)).float().div_(255)[None]
    saved = {"width": picture.width, "height": picture.height, "fps": 1, "frame_count": 1}
    path = save_numbered(runtime.temp_dir(), runtime.MEASURED, [image], **saved)
    report = "\n".join(one.line for one in found)
    wrong = [one.wrong for one in found if one.wrong]
    if wrong:
        runtime.notice(f"{'; '.join(one.line for one in found)}; plot: {path}")
        raise ValueError("; ".join(wrong))
    shown = runtime.shown(report, video, image, report)
    shown["ui"]["images"] = [{"filename": path.name, "subfolder": "", "type": "temp"}]
    return shown


NODES = [SpacetimeInspect]
