"""Tiny models with random weights, one folder for each architecture, and the two ways to run them: diffusers' own
pipeline, and our loaders, encoders and sampler as a user wires them."""

from types import SimpleNamespace

import torch
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as NODES

PROMPT, NEGATIVE = "a red circle moves right", "blurry"
SEED, STEPS, GUIDANCE = 7, 4, 4.0
WORDS = "a red circle moves right blurry square the video is of black gray background slow fast camera".split()


def tokenizer(length: int, start: str | None = None, **more):
    """A real word tokenizer that ends a text as T5's does, or with `start` also begins it as CLIP's does. Empty lines
    are words."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<unk>", *([start] if start else [])]
    words = {word: i for i, word in enumerate([*special, *WORDS])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+|\w+|[^\w\s]+"), "removed", invert=True)
    single = f"{start} $A </s>" if start else "$A </s>"
    named = [(name, words[name]) for name in (["</s>", start] if start else ["</s>"])]
    inner.post_processor = processors.TemplateProcessing(single=single, special_tokens=named)
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", **({"bos_token": start} if start else {})}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=length, **names, **more)


def t5(width: int = 32, words: int = 64):
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(1)
    sizes = {"d_model": width, "d_kv": 8, "num_heads": 4, "d_ff": 64, "num_layers": 2, "vocab_size": words}
    return lively(T5EncoderModel(T5Config(**sizes, feed_forward_proj="gated-gelu", dropout_rate=0.0)))


def umt5(width: int = 32):
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(1)
    sizes = {"d_model": width, "d_kv": 8, "num_heads": 4, "d_ff": 64, "num_layers": 2, "vocab_size": 64}
    return lively(UMT5EncoderModel(UMT5Config(**sizes, feed_forward_proj="gated-gelu", dropout_rate=0.0)))


def lively(module, seed: int = 2):
    """Random weights in every layer: many start at zero, and a zero layer would hide a wrong input."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5)
            elif parameter.abs().max() == 0:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval().requires_grad_(False)


def save(pipeline, base, name: str, **more):
    """The pipeline in a user's model folder; and as diffusers reads it from there, quiet, with the encoder's mean in
    place of a random sample: what a user places on a canvas is the same in every run.

    Where weights lie in memory decides the last bit of a product: diffusers' own answer differs by 1e-6 between weights
    mapped from a file, at any address, and the same ones copied to where torch puts a new tensor, as ours are. So does
    whether they ask for a gradient: torch multiplies a folded video by a weight that does, and frame by frame else.
    """
    folder = base / "models" / "diffusion_models" / name
    guard = {name: part for name, part in pipeline.components.items() if name == "safety_checker"}
    pipeline.register_modules(**dict.fromkeys(guard))
    pipeline.save_pretrained(folder)
    pipeline = type(pipeline).from_pretrained(folder, **guard, **more)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.requires_grad_(False)
            for tensor in (*part.parameters(), *part.buffers()):
                tensor.data = tensor.data.clone()
    pipeline.set_progress_bar_config(disable=True)
    encode = pipeline.vae.encode
    pipeline.vae.encode = lambda x, **more: SimpleNamespace(latents=encode(x, **more).latent_dist.mode())
    return pipeline


def load(name: str, vae_name: str = "", text_encoder_name: str = "", device: str = "auto"):
    """The three components as the loader nodes give them, all from one pipeline where no others are named."""
    (dit,) = NODES["SpacetimeLoadDiT"]().run(name, device=device)
    (vae,) = NODES["SpacetimeLoadVAE"]().run(vae_name or name, device=device)
    (text_encoder,) = NODES["SpacetimeLoadTextEncoder"]().run(text_encoder_name or name, device=device)
    return SimpleNamespace(dit=dit, vae=vae, text_encoder=text_encoder)


def result(name: str, *args, **more):
    """What a node returns, without what it shows."""
    done = NODES[f"Spacetime{name}"]().run(*args, **more)
    return done["result"] if isinstance(done, dict) else done


def grid(model, width: int, height: int, frames: int, fps: float = 8.0, batch: int = 1):
    return result("Grid", model.dit, model.vae, "custom", 0, width, height, 0.0, fps, frames, batch)[0]


def sample(model, latent, guidance: float = GUIDANCE, scheduler="auto", negative: str = NEGATIVE, **more):
    prompts = result("EncodePrompt", model.text_encoder, PROMPT, negative)
    settings = {"preview": True, **more}
    return result("Sample", model.dit, *prompts, latent, SEED, STEPS, guidance, scheduler, **settings)[0]


def stock(pipeline, guidance: float = GUIDANCE, **more):
    settings = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "num_inference_steps": STEPS, "output_type": "latent"}
    generator = torch.Generator().manual_seed(SEED)
    return pipeline(**{**settings, "guidance_scale": guidance, "generator": generator, **more}).frames


def picture(width: int, height: int, seed: int = 0):
    """Noise as a PIL image and as IMAGE [1, height, width, 3]."""
    import numpy as np
    from PIL import Image

    pixels = np.random.RandomState(seed).randint(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels), torch.from_numpy(pixels)[None].float() / 255


def free_cells(model, canvas, **more):
    """guidance → the free latent frames; the known ones are as they were placed."""
    known = canvas["noise_mask"][0, 0, :, 0, 0] == 0

    def run(guidance):
        done = sample(model, canvas, guidance, **more)["samples"]
        assert torch.equal(done[:, :, known], canvas["samples"][:, :, known])
        return done[:, :, ~known]

    return run, ~known


def free_region(model, canvas):
    """guidance → the free cells; the known ones, of the same latent frames, are as they were placed."""
    free = canvas["noise_mask"].expand_as(canvas["samples"]) > 0

    def run(guidance):
        done = sample(model, canvas, guidance)["samples"]
        assert torch.equal(done[~free], canvas["samples"][~free])
        return done[free]

    return run, free
