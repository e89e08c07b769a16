"""A film on one timeline: what is to be seen when, as cards."""

import re
from contextlib import suppress
from pathlib import Path

from . import runtime
from .footage import FIT, LATENT, VAE, encoder_of, on_canvas, rate_of

CARDS = "0: red circle moving right on a black background\n1: red circle moving up on a black background"


class SpacetimeStoryboard:
    TITLE = "Storyboard"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Cards on one timeline: from each card's second on, the video shows its prompt, and may begin with its image. "
        "Each card is sampled after the last one and goes on from it."
    )
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING", "LATENT")
    RETURN_NAMES = ("positive", "negative", "latent")
    OUTPUT_TOOLTIPS = (
        "All cards, for the sampler.",
        "What the video should avoid.",
        "The canvas with the cards' images known.",
    )
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        tip = (
            "One card a line: its second, a colon, its prompt; the first at 0. [image 2] begins it with the second of "
            "the images, [image sky.png] with a file of the input folder."
        )
        return {
            "required": {
                "text_encoder": ("SPACETIME_TEXT_ENCODER", {"tooltip": "From Load Text Encoder."}),
                "vae": VAE,
                "latent": LATENT,
                "cards": ("STRING", {"default": CARDS, "multiline": True, "tooltip": tip}),
                "negative": (
                    "STRING",
                    {"default": "", "multiline": True, "tooltip": "What no card should look like. May stay empty."},
                ),
                "blend": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 60.0,
                        "step": 0.1,
                        "tooltip": "Seconds over which one card's prompt fades into the next one's. 0 changes at once.",
                    },
                ),
                "fit": FIT,
            },
            "optional": {"images": ("IMAGE", {"tooltip": "The cards' images, in the order of their numbers."})},
        }

    @classmethod
    def IS_CHANGED(cls, cards=None, **others):
        """The cards name pictures; their files may be others by now."""
        from ..spacetime.story import read

        facts = []
        with suppress(ValueError, TypeError, AttributeError, OSError):  # run() says what is wrong
            for name in sorted({card.picture for card in read(cards)} - {None}):
                if not is_number(name):
                    found = picture_file(name).stat()
                    facts.append([name, found.st_mtime_ns, found.st_size])
        return facts

    def run(self, text_encoder, vae, latent, cards, negative, blend, fit, images=None):
        from ..spacetime.canvas import place, seconds_of, spans_of
        from ..spacetime.story import read, shares
        from ..spacetime.timeline import canvas_frame, frame_count
        from .prompt import encoded

        factor = vae.config.time_factor
        story, rate, spans = read(cards), rate_of(latent), spans_of(latent, factor)
        last = frame_count(spans) - 1
        positive = []
        counts = shares([card.start for card in story], blend, seconds_of(latent, factor))
        for card, count in zip(story, counts, strict=True):
            if round(card.start * rate) > last:
                raise ValueError(
                    f"the card at {card.start:g} s lies beyond the canvas, which ends at {last / rate:g} s"
                )
            if not any(count):
                raise ValueError(
                    f"the card at {card.start:g} s gets no latent frame, which is {factor / rate:g} s long here: give "
                    "it more time before the next card or the end"
                )
            embeddings, more = encoded(text_encoder, card.prompt)
            facts = {"card_start": card.start, "card_blend": blend, "time_factor": factor}
            positive.append([embeddings, {**more, **facts}])
            if card.picture is not None:
                clip = on_canvas(vae, latent, fit, **self._picture(card.picture, images))
                latent, _ = place(latent, clip, canvas_frame(spans, round(card.start * rate)), encoder_of(vae))
        ends = [card.start for card in story[1:]] + [(last + 1) / rate]
        lines = [f"{card.start:g}–{end:g} s: {card.prompt}" for card, end in zip(story, ends, strict=True)]
        against = [list(encoded(text_encoder, negative, True))]
        text_encoder.rest()
        return runtime.shown("\n".join(lines), positive, against, latent)

    def _picture(self, name: str, images) -> dict:
        from ..media.video import FileVideo

        if not is_number(name):
            return {"video": FileVideo(picture_file(name))}
        count = 0 if images is None else len(images)
        if not 1 <= int(name) <= count:
            raise ValueError(f"[image {name}] isn't there; {count} images are wired, counted from 1")
        return {"images": images[int(name) - 1 : int(name)]}

    def plan(self, text_encoder, vae, latent, cards, negative, blend, fit, images=None):
        from ..spacetime.story import read

        story = read(cards)
        for card in story:
            if card.picture is not None and not is_number(card.picture):
                picture_file(card.picture)
        if latent and any(card.picture is not None for card in story):
            latent = {**latent, "known": True}
        told = {"text_encoder": text_encoder, "starts": [card.start for card in story], "blend": blend}
        return told, told, latent


def is_number(picture: str) -> bool:
    """Whether a card means an image of the batch that is wired; else a file."""
    return bool(re.fullmatch(r"\d+", picture))


def picture_file(name: str) -> Path:
    return runtime.file_in(runtime.input_dir(), name)


NODES = [SpacetimeStoryboard]
