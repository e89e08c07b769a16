"""LLaVA as HunyuanVideo's image-to-video reads with it: the prompt together with the picture the video begins with.

The picture is the canvas's own. It is known when a video is sampled, so a prompt brings along how to read it again.
"""

from functools import partial

from ..folders import keep_beside
from . import llama
from .llama import clean, most_tokens  # noqa: F401 (read as llama reads)

PICTURE_TOKENS = 576  # they come first
# their prompts are read without it
WORDS_ALONE = "HunyuanVideoPipeline", "HunyuanSkyreelsImageToVideoPipeline", "HunyuanVideoFramepackPipeline"


def facts(config: dict, folder):
    from ..text_encoder import TextFacts

    keep_beside(folder, "is read with CLIP L", "text_encoder_2")
    width = config["text_config"].get("hidden_size", 4096)
    return TextFacts(family="LLaVA", width=width, neighbours=("text_encoder_2",))


def encode(encoder, text: str, negative: bool, picture=None):
    """Embeddings [1, 576 + L, D], their mask, CLIP's pooled output, and for a positive prompt `with_picture`: PIL
    image → the same again. Without a picture it sees a black one, as the negative prompt always does."""
    from types import SimpleNamespace

    from diffusers import HunyuanVideoImageToVideoPipeline
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_image2video import DEFAULT_PROMPT_TEMPLATE
    from PIL import Image

    from ..component import picture_processor

    parts = SimpleNamespace(
        text_encoder=encoder.module,
        tokenizer=encoder.tokenizer,
        image_processor=picture_processor(encoder.folder.parent / "image_processor"),
        _execution_device=encoder.module.device,
    )
    embeddings, mask = HunyuanVideoImageToVideoPipeline._get_llama_prompt_embeds(
        parts, picture or Image.new("RGB", (64, 64)), text, DEFAULT_PROMPT_TEMPLATE, image_embed_interleave=1
    )
    more = {"attention_mask": mask, "picture_tokens": PICTURE_TOKENS, **llama.pooled(encoder, text)}
    if not negative and picture is None:
        more["with_picture"] = partial(encoder.encode, text, negative)
    if picture is None:  # single files serve all, a folder's is read anew for what isn't of its pipeline
        way = partial(words_alone, encoder.again, text) if encoder.pipeline else words_alone(encoder, text)
        more["readings"] = embeddings, dict.fromkeys(WORDS_ALONE, way)
    return embeddings, more


def words_alone(encoder, text: str):
    """What `encode` returns, without a picture."""
    embeddings, more = llama.encode(encoder, text, negative=False)
    return embeddings, {**more, "with_picture": None}
