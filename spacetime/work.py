"""How much arithmetic a diffusion transformer does, from the shapes of its weights. Pure Python, of no family.

diffusers names the layers of all its video transformers alike, so their names tell what a weight is multiplied with:
every token of the video, every token of the prompt, both, or the time alone.
"""

import re
from dataclasses import astuple, dataclass
from math import prod

# in this order, captions first; what no pattern finds is multiplied with the video's tokens
# added or looked up; and what reads sound, a face, pictures or a packed past, whose tokens are few
TABLES = re.compile(
    r"scale_shift_table|pos_|position|rope|fps_embedding|audio|[kv]_img\b|img_context|clean_x_embedder|image_projection"
    r"|(motion|face)_enc|face_adapter.*to_[kv]"
)
CAPTION = re.compile(r"caption|pooler\.to_kv")
TIME = re.compile(r"time|norm\w*\.(linear|[01]\.)|adaln|modulation|guidance|fps_|pool")
TEXT = re.compile(r"context|crossattn_proj|caption|text|\.add_[qkv]|to_add_out|attn2\.to_[kv]\b|vision|image_emb")
BLOCK = re.compile(r"^((?:\w+\.)*?\w*(?:blocks|layers)\.\d+)\.")
PROJECTION = re.compile(r"\.(attn\w*)\.to_q\.weight$")


@dataclass(frozen=True)
class Work:
    """Multiply-adds of one pass: `video` for each token of the video, `text` for each of the prompt, `both` for each
    of the two where they are one sequence, `time` for each time. Attention, in widths summed over the layers: among the
    video's tokens (`apart`), among video and prompt together (`joint`), from the video to the prompt (`across`),
    among the prompt's alone (`reading`)."""

    video: int = 0
    text: int = 0
    both: int = 0
    time: int = 0
    apart: int = 0
    joint: int = 0
    across: int = 0
    reading: int = 0
    layers: int = 0

    def __add__(self, other: "Work") -> "Work":
        return Work(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    def flops(self, tokens: int, text: int, per_token_time: bool = False, linear_head: int = 0) -> int:
        """Of one pass through so many tokens of video and prompt. linear_head: the size of a head where attention is
        linear (Katharopoulos et al. 2020): keys and values are summed up first, once for all queries."""
        both = tokens + text
        linear = self.video * tokens + self.text * text + self.both * both
        linear += self.time * (tokens if per_token_time else 1)
        among = self.apart * tokens * (linear_head or tokens) + self.joint * both * both + self.across * tokens * text
        among += self.reading * text * text
        return 2 * linear + 4 * among


def work_of(shapes: dict[str, tuple[int, ...]]) -> Work:
    """shapes: of a transformer's weights, by diffusers' names."""
    blocks: dict[str, list[str]] = {}
    for key in shapes:
        if match := BLOCK.match(key):
            blocks.setdefault(match[1], []).append(key)
    across = {name for name, keys in blocks.items() if any(".attn2." in key for key in keys)}
    own_text = {name for name, keys in blocks.items() if any(re.search(r"\.add_[qkv]", key) for key in keys)}
    found = dict.fromkeys(Work.__annotations__, 0)
    for key, shape in shapes.items():
        if len(shape) < 2 or TABLES.search(key):
            continue
        block = match[1] if (match := BLOCK.match(key)) else None
        if TIME.search(key) and not CAPTION.search(key):
            what = "time"
        elif CAPTION.search(key) or TEXT.search(key):
            what = "text"
        else:
            what = "video" if block is None or block in across | own_text else "both"
        found[what] += prod(shape)
        if match := PROJECTION.search(key):
            kind = (
                "reading"
                if what == "text"
                else "across"
                if match[1] == "attn2"
                else "apart"
                if block in across
                else "joint"
            )
            found[kind] += shape[0]
    found["layers"] = sum(not TEXT.search(name) for name in blocks)
    return Work(**found)
