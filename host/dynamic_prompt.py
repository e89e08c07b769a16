"""Prompts with choices, "a {red|blue} star", which the editor resolves by chance before it sends a graph. Fields that
are marked `dynamicPrompts` hold them; a backslash keeps a brace or bar as it is, and // or /* */ hide a comment."""

import random
import re
from collections.abc import Callable

COMMENT = re.compile(r"/\*[\s\S]*?\*/|//.*")
TOKEN = re.compile(r"(?s)\\.|[{|}]|[^\\{|}]+|\\")


def resolved(text: str, choose: Callable[[list[str]], str] = random.choice) -> str:
    blocks: list[list[list[str]]] = [[[]]]  # the open ones, innermost last: their choices, in pieces
    for token in TOKEN.findall(COMMENT.sub("", text)):
        if token == "{":
            blocks.append([[]])
        elif token == "|" and len(blocks) > 1:
            blocks[-1].append([])
        elif token == "}" and len(blocks) > 1:
            _close(blocks, choose)
        else:
            blocks[-1][-1].append(token[1:] if token in ("\\{", "\\|", "\\}") else token)
    while len(blocks) > 1:  # never closed: to the end of the text
        _close(blocks, choose)
    return "".join(blocks[0][0])


def _close(blocks: list, choose: Callable[[list[str]], str]):
    choices = ["".join(pieces) for pieces in blocks.pop()]
    blocks[-1][-1].append(choose(choices))
