"""A short prompt becomes the long caption a video model was trained on: DALL·E 3's recaptioning, at inference.

Betker et al. 2023, "Improving Image Generation with Better Captions": trained on long captions, it wants long ones.
"""

import re
from collections.abc import Callable
from pathlib import Path

GRAMMAR, ENDPOINT, LOCAL = BACK_ENDS = ("pocket grammar", "chat endpoint", "local model")
LONGEST = 4000  # characters of a caption; what is longer isn't one
INSTRUCTION = (
    "You rewrite a short idea as the caption of one video clip of a few seconds. Write a single paragraph of 60 to 120 "
    "words in English, in the present tense: what is seen and how it looks, what moves and in which direction and how "
    "fast, the place, the light, the style, and what the camera does. Keep everything the idea says and add nothing "
    "that contradicts it. Begin with the subject. Answer with the caption alone."
)


def expand(
    prompt: str, back_end: str, instruction: str, seed: int, folder: Callable[[], Path], check: Callable[[], None]
) -> tuple[str, list[str]]:
    """The caption, and notes for the user. Raises ValueError or OSError in one line.

    folder: gives the local model's, or raises. check: raises when the user has cancelled; called often.
    """
    if not prompt.strip():
        raise ValueError("the prompt is empty: a few words would do, such as 'red ball going right'")
    if back_end == GRAMMAR:
        from .pocket_grammar import expand

        return expand(prompt, seed)
    if back_end == ENDPOINT:
        from .chat_endpoint import Endpoint, ask

        endpoint = Endpoint.from_environment()
        return tidy(ask(endpoint, instruction, prompt, seed, check), str(endpoint)), []
    from .language_model import write

    where = folder()
    return tidy(write(where, instruction, prompt, seed, check), where.name), []


def tidy(answer: str, author: str) -> str:
    """An answer as one paragraph: without a reasoning model's thoughts, quotation marks around it and control codes."""
    text = re.sub(r"^\s*<think>.*?(</think>|\Z)", "", answer, flags=re.S)
    text = "".join(one if one.isprintable() else " " for one in text)
    text = " ".join(text.split())
    if len(text) > 1 and (text[0], text[-1]) in (('"', '"'), ("“", "”")):
        text = text[1:-1].strip()
    if not text:
        raise ValueError(f"{author} answered with an empty text")
    if len(text) > LONGEST:
        raise ValueError(f"{author} answered with {len(text)} characters; a caption has at most {LONGEST}")
    return text
