"""Clips cut, kept in part and mixed: trim, recut and blend. On latents and sources, as in canvas.py."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby

import torch

from .canvas import CANVAS_KEYS, Encoder, Part, cells, place, spans_of
from .grid import first_frame, frames_of, snap_frames
from .timeline import Source, Span, frame_count


def frames_between(start: float, end: float, count: int, rate: float) -> tuple[int, int]:
    """Seconds → frames `first` to `last` - 1 of a clip of `count`. Negative counts from its end; an end of 0 is it.

    Raises ValueError where that isn't inside the clip, or not a frame long.
    """
    if not math.isfinite(start * rate) or not math.isfinite(end * rate):
        raise ValueError(f"{start:g} to {end:g} s can't be; both must be numbers of seconds")
    first, last = (round(seconds * rate) + (count if seconds < 0 else 0) for seconds in (start, end))
    last = last if end else count
    if not 0 <= first < last <= count:
        raise ValueError(
            f"{start:g} to {end:g} s is no part of a clip of {count / rate:g} s; start before end, both inside it and "
            "at least a frame apart"
        )
    return first, last


def shortened(latent: dict, frames: int, time_factor: int) -> dict | None:
    """A LATENT of the first `frames` frames of the video, to the nearest whole latent frame: a slice, bit for bit.

    None where a slice would show other frames: a ring's, whose beginning follows from its end; those before a source,
    which takes its part in them; and those of a source longer than the cells that stand for it.
    """
    samples, free = cells(latent)
    spans, at, shown = spans_of(latent, time_factor), 0, 0
    if frames == frame_count(spans):
        return {**latent}
    while frames > shown + spans[at].frame_count:
        at, shown = at + 1, shown + spans[at].frame_count
    span = spans[at]
    if latent.get("ring") or (not span.source and any(following.source for following in spans[at + 1 : at + 2])):
        return None
    if frames == shown + span.frame_count:
        end = span.last
    elif span.frame_count == span.last - span.first:
        end = span.first + frames - shown
    else:
        return None
    end = min(snap_frames(end, time_factor), spans[-1].last)
    kept = (end - 1) // time_factor + 1
    cut = {**latent, "samples": samples[:, :, :kept]}
    if free is not None:
        cut["noise_mask"] = free[:, :, :kept]
    if latent.get("heard"):
        cut["heard"] = Part(latent["heard"], 0, frames_of(kept, time_factor))
    if latent.get("timeline"):
        cut["timeline"] = tuple(_cut(span, end) for span in spans if span.first < end)
    return cut


def _cut(span: Span, end: int) -> Span:
    """The span up to canvas frame `end`."""
    if span.last <= end:
        return span
    count = end - span.first
    source = Part(span.source, 0, count) if span.source else None
    return replace(span, last=end, source=source, free=None if span.free is None else span.free[:count])


def recoded(latent: dict, clips: Sequence[Source], encoder: Encoder) -> dict:
    """`latent` with other clips in it, one a video of the batch, each time_factor·k + 1 frames long.

    A lone clip is known, so that the video shows it bit for bit and not what the VAE keeps of it; a batch, whose videos
    share one timeline, shows what the VAE keeps.
    """
    samples = torch.cat([torch.cat(list(encoder.stream(clip.frames())), dim=2) for clip in clips])
    made = {key: value for key, value in latent.items() if key not in CANVAS_KEYS}
    made["samples"] = samples
    if len(clips) == 1:
        made["noise_mask"] = torch.zeros(1, 1, *samples.shape[2:])
        made["timeline"] = (Span(0, clips[0].frame_count, clips[0]),)
    else:
        made["heard"] = clips[0]
    return made


def recut(clip: Source, first: int, last: int, encoder: Encoder, empty_of: Callable[[int], dict]) -> dict:
    """A canvas as long as `clip`, to the nearest whole latent frame, that keeps its frames `first` to `last` - 1.

    Only whole latent frames can be known, so the range grows to those it touches: the frames next to it are the clip's
    too. empty_of: latent frames → an empty LATENT of the clip's size. Raises ValueError where nothing is left to make.
    """
    factor, count = encoder.time_factor, clip.frame_count
    whole = (count - 1) // factor + 1
    begin, end = -(-first // factor), -(-(last - 1) // factor) + 1  # latent frames that the range touches
    length, shown = max(end, (snap_frames(count, factor) - 1) // factor + 1), frames_of(end, factor)
    if end > whole:  # the clip's last frames fill no latent frame; they are shown after those that do
        length, shown = whole, count
        begin, end = min(begin, whole - 1), whole
    if begin == 0 and end == length:
        raise ValueError(
            f"frames {first}–{last - 1} are, in whole latent frames of {factor}, all {count} of the clip: nothing is "
            "left to make anew; keep less of it"
        )
    known = range(first_frame(begin, factor), frames_of(end, factor))
    latent, _ = place(empty_of(length), Part(clip, known.start, known.stop), known.start, encoder)
    kept = Span(known.start, known.stop, Part(clip, known.start, shown))
    spans = (Span(0, known.start), kept, Span(known.stop, frames_of(length, factor)))
    return {**latent, "timeline": tuple(span for span in spans if span.first < span.last)}


def blend(
    first: Source, second: Source, weights: Sequence[float], strength: float, encoder: Encoder, keep: bool = False
) -> dict:
    """Two clips mixed on one canvas, to be sampled from a noise level so that one video comes of them (as `restyle`).

    weights: of the second clip, one a latent frame: 0 is the first clip, 1 the second. keep: where the weight is
    exactly 0 or 1 that clip's frames are known; at a jump from one to the other a latent frame on each side stays free.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength {strength:g} can't be; it goes from 0 (the mix) to 1 (all new)")
    count = frames_of(len(weights), encoder.time_factor)
    a, b = (torch.cat(list(encoder.stream(clip.part(0, count))), dim=2) for clip in (first, second))
    w = torch.tensor(weights).view(1, 1, -1, 1, 1)
    # Straight lines: arcs (slerp, Shoemake 1985), by cell or by frame, gain nothing. On pocket 6.1 % of the sampled
    # pixels then have a colour between the world's, with arcs 6.3 %; a cross-fade of pixels has 13 %, a clip 2 %.
    made = {"samples": torch.lerp(a, b, w), "denoise": strength}  # exactly a at 0 and b at 1
    if not keep:
        return made
    shown = _exact(weights)
    if None not in shown:
        raise ValueError("this curve is 0 or 1 everywhere: no frame is left to make; let it pass between them")
    spans, at = [], 0
    for which, run in groupby(shown):
        begin, at = at, at + len(list(run))
        frames = range(first_frame(begin, encoder.time_factor), frames_of(at, encoder.time_factor))
        source = None if which is None else Part((first, second)[which], frames.start, frames.stop)
        spans.append(Span(frames.start, frames.stop, source))
    free = torch.tensor([float(which is None) for which in shown])
    made["noise_mask"] = free.view(1, 1, -1, 1, 1).expand(1, 1, *a.shape[2:]).clone()
    return {**made, "timeline": tuple(spans)}


def _exact(weights: Sequence[float]) -> list[int | None]:
    """For each latent frame the clip that it shows exactly, 0 or 1; None where the two mix, and beside a jump."""
    shown = [int(weight) if weight in (0, 1) else None for weight in weights]
    jumps = [at for at in range(1, len(shown)) if {shown[at - 1], shown[at]} == {0, 1}]
    for at in jumps:
        shown[at - 1] = shown[at] = None
    return shown
