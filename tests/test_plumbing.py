"""The verbs are of no family: the same nodes drive tiny random LTX and CogVideoX transformers, and keep what is known.

One takes a timestep for every token, the other one for all: known cells go in clean, or as noisy as the rest.
"""

from types import SimpleNamespace

import pytest
import torch
from clips import video_of
from einops import rearrange
from spacetime_nodes.model_loaders import offload
from spacetime_nodes.model_loaders.dit import DiTFacts
from spacetime_nodes.model_loaders.identify import Identity
from spacetime_nodes.model_loaders.single_file import Source
from spacetime_nodes.spacetime.model import Denoiser

WIDTH, TEXT = 32, 24


class Family(Denoiser):
    """What both adapters share: latents as they are, noise as it is drawn."""

    device, dtype, batched_guidance = torch.device("cpu"), torch.float32, False

    def __init__(self, transformer):
        self.transformer = transformer.eval().requires_grad_(False)


class LTX(Family):
    patch, per_token_time = (1, 1, 1), True

    def __init__(self):
        from diffusers import LTXVideoTransformer3DModel

        torch.manual_seed(0)
        super().__init__(
            LTXVideoTransformer3DModel(
                in_channels=16, out_channels=16, num_attention_heads=2, attention_head_dim=WIDTH // 2,
                cross_attention_dim=WIDTH, num_layers=2, caption_channels=TEXT,
            )
        )  # fmt: skip

    def predict(self, x, t, text, branch):
        frames, height, width = x.shape[2:]
        done = self.transformer(
            rearrange(x, "b c t h w -> b (t h w) c"), text.embeddings, t.expand(len(x), -1),
            torch.ones(text.embeddings.shape[:2]), num_frames=frames, height=height, width=width, return_dict=False,
        )[0]  # fmt: skip
        return rearrange(done, "b (t h w) c -> b c t h w", t=frames, h=height, w=width)


class CogVideoX(Family):
    patch, per_token_time = (1, 2, 2), False

    def __init__(self):
        from diffusers import CogVideoXTransformer3DModel

        torch.manual_seed(0)
        super().__init__(
            CogVideoXTransformer3DModel(
                num_attention_heads=2, attention_head_dim=16, time_embed_dim=8, text_embed_dim=TEXT, num_layers=2,
                sample_width=6, sample_height=6, sample_frames=9, max_text_seq_length=4,
            )
        )  # fmt: skip

    def predict(self, x, t, text, branch):
        x = rearrange(x, "b c t h w -> b t c h w")
        done = self.transformer(x, text.embeddings, t.expand(len(x)), return_dict=False)[0]
        return rearrange(done, "b t c h w -> b c t h w")


@pytest.fixture(params=[LTX, CogVideoX], ids=lambda family: family.__name__)
def dit(request, tmp_path):
    model = request.param()
    model.transformer.save_pretrained(tmp_path / "dit")
    scheduler = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0}
    facts = DiTFacts(
        family=request.param.__name__, channels=16, patch=model.patch, max_cells=(999, 999, 999),
        trained_cells=(5, 6, 6), text_width=TEXT, width=WIDTH, ffn=4 * WIDTH, per_token_time=model.per_token_time,
        scheduler=scheduler, vae={},
    )  # fmt: skip
    source = Source("dit", tmp_path / "dit", {})
    shown = {"latent_rgb": None, "dtype": "float32", "device": "cpu", "precise": False, "memory": offload.FITS}
    shown["place"] = torch.float32, torch.device("cpu")
    shown |= {"family": SimpleNamespace(Adapter=request.param), "ready": lambda needed: None}
    shown["weight_bytes"] = offload.footprint(source).device
    shown["identity"] = Identity("transformer")  # of no published model: pocket's VAE and text encoder will do
    return SimpleNamespace(pipeline="", config=facts, adapter=model, source=source, **shown)


VERBS = {
    "place": lambda n, vae, grid: n("PlaceFrames", vae, grid, "start", "cover", 1.0, video=video_of(5)[0]),
    "extend forward": lambda n, vae, grid: n("Extend", vae, grid, "forward", 1.0, 0.0, "cover", video_of(9)[0]),
    "extend backward": lambda n, vae, grid: n("Extend", vae, grid, "backward", 1.0, 0.0, "cover", video_of(9)[0]),
    "extend both": lambda n, vae, grid: n("Extend", vae, grid, "both", 0.5, 0.0, "cover", video_of(9)[0]),
    "extend far": lambda n, vae, grid: n("Extend", vae, grid, "forward", 6.0, 0.0, "cover", video_of(9)[0]),
    "connect": lambda n, vae, grid: n("Connect", vae, grid, 1.0, 0.0, "cover", video_of(9)[0], video_of(9, seed=1)[0]),
    "close a loop": lambda n, vae, grid: n("Loop", vae, grid, 1.0, 0.0, "cover", video_of(9)[0]),
    "inpaint": lambda n, vae, grid: n(
        "MaskRegion", vae, grid, 0.34, 0.34, 0.33, 0.33, 0, 0, 0, 0, 0, 0, 0, "cover", video_of(9)[0]
    ),
    "outpaint": lambda n, vae, grid: n(
        "MaskRegion", vae, grid, 0, 0, 1, 1, 0, 0, 0, 16, 0, 0, 0, "cover", video_of(9)[0]
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_keeps_known_cells_and_source_frames_exactly(nodes, pocket, host, dit, verb):
    def node(name, *args, **kwargs):
        return nodes[f"Spacetime{name}"]().run(*args, **kwargs)["result"][0]

    grid = node("Grid", dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 17)
    canvas = VERBS[verb](node, pocket.vae, grid)
    text = [[torch.randn(1, 4, TEXT, generator=torch.Generator().manual_seed(1)), {}]]
    (done,) = nodes["SpacetimeSample"]().run(dit, text, text, canvas, 3, 2, 2.0)
    known = (canvas["noise_mask"] == 0).expand_as(canvas["samples"])
    assert known.any() and not known.all()
    assert torch.equal(done["samples"][known], canvas["samples"][known])
    assert (done["samples"] != canvas["samples"])[~known].float().mean() > 0.99
    frames = nodes["SpacetimeDecodeImages"]().run(pocket.vae, done)[0]
    shown = 0
    for span in done["timeline"]:
        source = torch.cat(list(span.source.frames())) if span.source and span.shown else None
        part = frames[shown : shown + span.frame_count]
        if source is not None and span.free is None:
            assert torch.equal(part, source)
        elif source is not None:
            assert torch.equal(part[span.free == 0], source[span.free == 0])
        shown += span.frame_count
    assert shown == len(frames)


@pytest.mark.parametrize("windows", ["autoregressive", "overlapping"])
def test_long_canvases_are_windows_for_every_family(nodes, pocket, host, dit, windows):
    grid = nodes["SpacetimeGrid"]().run(dit, pocket.vae, "1:1", 96, 0, 0, 0.0, 8.0, 49)["result"][0]
    text = [[torch.zeros(1, 4, TEXT), {}]]
    (done,) = nodes["SpacetimeSample"]().run(dit, text, text, grid, 3, 2, 1.0, windows=windows)
    assert done["samples"].shape == (1, 16, 13, 12, 12) and done["samples"].isfinite().all()
    assert "4 windows of 5 latent frames" in host.notices[-1] and "tiles of 6×6 cells" in host.notices[-1]


def test_a_storyboard_and_a_ring_run_on_every_family(nodes, pocket, host, dit):
    grid = nodes["SpacetimeGrid"]().run(dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 17)["result"][0]
    ring = nodes["SpacetimeLoop"]().run(pocket.vae, grid, 1.0, 0.0, "cover")["result"][0]
    facts = {"card_blend": 0.0, "time_factor": 4}
    cards = [[torch.full((1, 4, TEXT), 1.0 + i), {"card_start": float(i), **facts}] for i in range(2)]
    (done,) = nodes["SpacetimeSample"]().run(dit, cards, [[torch.zeros(1, 4, TEXT), {}]], ring, 3, 2, 2.0)
    assert done["samples"].shape[2] == 4 and done["samples"].isfinite().all() and done["ring"]
