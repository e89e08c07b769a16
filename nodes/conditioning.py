"""CONDITIONING as the sampler takes it: read as the model reads, with a picture or a storyboard's cards."""

from . import runtime
from .prompt import LACKS


def prompted(positive, negative, facts, latent: dict, told: dict) -> list:
    """The sampler's prompts: one, or with a storyboard's cards one a card, by the video's own seconds.

    facts: the DiT's; told: what it is told beside the words, by name.
    """
    import torch

    from ..spacetime.canvas import cells, seconds_of
    from ..spacetime.sampler import Prompt
    from ..spacetime.story import shares

    batch = len(cells(latent)[0])
    against = text_of(negative, facts, batch, told)
    cards = [entry for entry in positive if "card_start" in entry[1]] if isinstance(positive, list) else []
    if len(cards) < 2:
        return [Prompt(text_of(positive, facts, batch, told), against)]
    starts, story = [card["card_start"] for _, card in cards], cards[0][1]
    parts = shares(starts, story["card_blend"], seconds_of(latent, story["time_factor"]))
    return [
        Prompt(text_of([card], facts, batch, told), against, torch.tensor(share))
        for card, share in zip(cards, parts, strict=True)
    ]


def as_read_by(pipeline: str, conditioning, width: int = 0, loaded: set | None = None):
    """Prompts of an encoder that serves several families, as this pipeline's transformer of this width reads them.

    loaded: takes the encoders of other pipelines that had to be loaded once more for it.
    """

    def entry(embeddings, more):
        of, readings = more.get("readings", (None, {}))
        reading = readings.get(pipeline) or readings.get(width)
        if of is not embeddings or reading is None:  # another node may have made new embeddings
            return [embeddings, more]
        if callable(reading):  # of an encoder from another pipeline
            runtime.status("reading the prompt as this model does")
            if loaded is not None:
                loaded.add(reading.args[0])
            reading = reading()
        embeddings, said = reading
        return [embeddings, {**more, **said}]

    return [entry(*one) for one in conditioning] if isinstance(conditioning, list) else conditioning


def with_picture(conditioning, pixels):
    """Prompts that are read together with a picture, read again with the first frame that is known as a whole."""
    if not isinstance(conditioning, list) or not any(more.get("with_picture") for _, more in conditioning):
        return conditioning
    from PIL import Image

    whole = [] if pixels is None else pixels.mask.flatten(1).amin(1).tolist()
    if 1.0 not in whole:
        return conditioning
    runtime.status("reading the prompt with the picture")
    frame = next(frame for i, frame in enumerate(pixels.frames()) if whole[i] == 1.0)
    picture = Image.fromarray((frame[0] * 255).round().byte().cpu().numpy())

    def again(embeddings, more):
        if more.get("with_picture"):
            embeddings, seen = more["with_picture"](picture)
            more = {**more, **seen}
        return [embeddings, more]

    told = [again(*entry) for entry in conditioning]
    for encoder in {more["with_picture"].func.__self__ for _, more in conditioning if more.get("with_picture")}:
        encoder.rest()
    return told


def card_cuts(prompts) -> tuple[int, ...]:
    """The latent frames at which a storyboard's next card begins."""
    from ..spacetime.story import cuts

    return tuple(cuts([prompt.share.tolist() for prompt in prompts])) if len(prompts) > 1 else ()


def text_of(conditioning, facts, batch: int, told: dict):
    """CONDITIONING → the model's Text. Of several entries (ComfyUI's areas) the first counts."""
    from ..spacetime.model import Text

    if not isinstance(conditioning, list) or not conditioning:
        raise ValueError("this CONDITIONING is empty; it should come from Encode Prompt")
    if len(conditioning) > 1:
        runtime.notice(f"this CONDITIONING combines {len(conditioning)} prompts; only the first is used")
    text, width = conditioning[0][0], facts.text_width
    if text.ndim != 3 or text.shape[2] != width:
        raise ValueError(
            f"this prompt was encoded to width {text.shape[-1]}, the DiT reads {width}: use the text encoder of the DiT"
        )
    more = {name: conditioning[0][1].get(name) for name in facts.reads}
    if lacking := [name for name, value in more.items() if value is None]:
        hint = conditioning[0][1].get(LACKS, {}).get(lacking[0], "use the text encoder of the DiT")
        raise ValueError(f"this prompt lacks {lacking[0]!r}, which the DiT reads: {hint}")
    return Text(text, more).expand(batch).given(told)
