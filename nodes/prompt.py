"""Words: written out at length, and turned into conditioning."""

from collections import Counter

from ..model_loaders import language_model, recaption
from . import runtime

SHOWN_WORDS = 120
ENCODED_BY, LACKS = "encoded_by", "lacks"  # in CONDITIONING: the text encoder's identity; TextFacts.lacks
STOP, PASS_ON = "stop", "pass the prompt on"


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
    DRY_RUN = "plan"

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

    def plan(self, text_encoder, positive, negative):
        return ({"text_encoder": text_encoder},) * 2

    def run(self, text_encoder, positive, negative):
        both = tuple([list(encoded(text_encoder, *prompt))] for prompt in ((positive, False), (negative, True)))
        text_encoder.rest()
        return both


def encoded(text_encoder, text: str, negative: bool = False):
    """Embeddings [1, L, D] of a prompt and what else CONDITIONING carries; notices say what the model can't read."""
    runtime.check_interrupted()
    unknown, beyond = text_encoder.unread(text)
    if unknown:
        words = text_encoder.known_words()
        known = f"; it knows: {' '.join(words)}" if len(words) <= SHOWN_WORDS else ""
        shown = ", ".join(repr(word[:40]) for word in unknown[:10]) + (" and more" if len(unknown) > 10 else "")
        runtime.notice(f"the model doesn't know {shown}{known}")
    if beyond:
        runtime.notice(f"the prompt is {beyond} tokens too long; the model reads only its beginning")
    embeddings, more = text_encoder.encode(text, negative)
    return embeddings, {**more, ENCODED_BY: text_encoder.identity, LACKS: text_encoder.config.lacks}


class SpacetimeExpandPrompt:
    TITLE = "Expand Prompt"
    CATEGORY = "Spacetime/prompt"
    DESCRIPTION = (
        "Writes a short prompt out as the long, descriptive caption that video models are trained on, and shows it."
    )
    RETURN_TYPES = ("STRING",)
    RETURN_NAMES = ("prompt",)
    OUTPUT_TOOLTIPS = ("The long caption, for Encode Prompt.",)
    FUNCTION = "run"
    failures = Counter()  # by back end, in this process; see IS_CHANGED

    @classmethod
    def INPUT_TYPES(cls):
        box = {"multiline": True}
        back_end = "pocket grammar writes pocket's own captions. chat endpoint asks the server the environment names."
        model = "For the local model: a transformers folder in models/LLM."
        folder = {"model_folder": runtime.LANGUAGE_MODELS}
        told = "What the chat endpoint or the local model is told to do with the prompt."
        failure = "When the caption can't be made: stop the run, or go on with the prompt as it is."
        seed = {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}
        return {
            "required": {
                "prompt": ("STRING", {"default": "red ball going right", **box, "tooltip": "A few words are enough."}),
                "back_end": (list(recaption.BACK_ENDS), {"default": recaption.GRAMMAR, "tooltip": back_end}),
                "language_model_name": (language_model.choices(_language_models()), {**folder, "tooltip": model}),
                "instruction": ("STRING", {"default": recaption.INSTRUCTION, **box, "tooltip": told}),
                "seed": ("INT", {**seed, "tooltip": "Decides what the prompt leaves open. Same seed, same caption."}),
                "on_failure": ([STOP, PASS_ON], {"default": STOP, "tooltip": failure}),
            }
        }

    @classmethod
    def IS_CHANGED(cls, back_end=None, on_failure=None, **inputs):
        """A prompt that was passed on for want of a caption isn't the answer for good: the next run asks again."""
        return cls.failures[back_end] if on_failure == PASS_ON else 0

    def run(self, prompt, back_end, language_model_name, instruction, seed, on_failure):
        def folder():
            return language_model.find(language_model_name, _language_models())

        runtime.check_interrupted()
        try:
            text, notes = recaption.expand(prompt, back_end, instruction, seed, folder, runtime.check_interrupted)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            if on_failure != PASS_ON:
                raise
            self.failures[back_end] += 1
            why = next(iter(str(error).splitlines()), type(error).__name__)
            runtime.notice(f"{why}; the prompt goes on as it is")
            return runtime.shown(prompt, prompt)
        for note in notes:
            runtime.notice(note)
        return runtime.shown(text, text)


def _language_models():
    return runtime.model_folders(runtime.LANGUAGE_MODELS)


NODES = [SpacetimeEncodePrompt, SpacetimeExpandPrompt]
