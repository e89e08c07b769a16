"""Words in, conditioning out."""

from . import runtime

SHOWN_WORDS = 120


class SpacetimeEncodePrompt:
    TITLE = "Encode Prompt"
    CATEGORY = "Spacetime/prompt"
    DESCRIPTION = (
        "Turns what you want to see, and what you don't, into conditioning. Names words the model has never read."
    )
    RETURN_TYPES = ("CONDITIONING", "CONDITIONING")
    RETURN_NAMES = ("positive", "negative")
    OUTPUT_TOOLTIPS = ("What the video should show.", "What it should avoid; used when guidance is above 1.")
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls):
        box = {"multiline": True}  # no dynamicPrompts: the editor alone would resolve {a|b}, and a server not
        tips = "What the video should show, in plain words.", "What it should not look like. May stay empty."
        return {
            "required": {
                "text_encoder": ("SPACETIME_TEXT_ENCODER", {"tooltip": "From Load Text Encoder."}),
                "positive": ("STRING", {"default": "red circle moving right", **box, "tooltip": tips[0]}),
                "negative": ("STRING", {"default": "", **box, "tooltip": tips[1]}),
            }
        }

    def run(self, text_encoder, positive, negative):
        return tuple(
            [[embeddings, {"attention_mask": mask}]]
            for embeddings, mask in (self._encode(text_encoder, text) for text in (positive, negative))
        )

    def _encode(self, text_encoder, text: str):
        runtime.check_interrupted()
        unknown, beyond = text_encoder.unread(text)
        if unknown:
            words = text_encoder.known_words()
            known = f"; it knows: {' '.join(words)}" if len(words) <= SHOWN_WORDS else ""
            shown = ", ".join(repr(word[:40]) for word in unknown[:10]) + (" and more" if len(unknown) > 10 else "")
            runtime.notice(f"the model doesn't know {shown}{known}")
        if beyond:
            runtime.notice(f"the prompt is {beyond} tokens too long; the model reads only its beginning")
        return text_encoder.encode(text)


NODES = [SpacetimeEncodePrompt]
