"""The arithmetic that a plan counts from a model's headers is what torch counts while the model runs."""

import os

import pytest
import torch
from bench import grid, load, result
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

SIZES = {
    "LTX-0.9.0": (192, 128, 17),
    "Sana-Video": (64, 64, 9),
    "FramePack": (128, 128, 69),
    "Wan2.2-Animate": (256, 256, 9),
}
# they collapse equal times to one; and LTX has none to take in a single step
ONE_TIME, STEPS = ("LTX-0.9.0", "Sana-Video"), 2
FAMILIES = [
    "Wan2.1-T2V",
    "Wan2.2-Animate",
    "LTX-0.9.0",
    "CogVideoX-5B",
    "CogVideoX1.5-5B",
    "HunyuanVideo",
    "FramePack",
    "Mochi",
    "Sana-Video",
]

pytestmark = pytest.mark.skipif(bool(os.environ.get("SPACETIME_STANDIN")), reason="counts the CPU's attention")


def attention(query, key, value, *args, out_shape=None, **more):
    return sdpa_flop(query, key, value)


CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}  # torch has no count of its own


@pytest.mark.parametrize("name", FAMILIES)
def test_a_passes_arithmetic(pipelines, name):
    from spacetime_nodes.model_loaders.outlook import Wish, sampled

    pipelines(name)
    model = load(name)
    canvas = grid(model, *SIZES.get(name, (48, 32, 9)))
    prompts = result("EncodePrompt", model.text_encoder, "red " * 600, "")  # no padding, which some leave out
    counts = []
    transformer, inner = model.dit.adapter.transformer, model.dit.adapter.transformer.forward

    def counted(*args, **more):
        with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
            made = inner(*args, **more)
        counts.append(counter.get_total_flops())
        return made

    transformer.forward = counted
    result("Sample", model.dit, *prompts, canvas, 0, STEPS, 4.0, evaluation="two passes", preview=False)
    length, facts = prompts[0][0][0].shape[1], model.dit.config
    assert length == model.text_encoder.config.tokens
    way = sampled(model.dit, Wish(tuple(canvas["samples"].shape), 8.0, STEPS, 4.0), length)
    assert len(counts) == way.steps * way.views * way.predictions
    per_token_time = facts.per_token_time and name not in ONE_TIME
    planned = model.dit.work.flops(way.in_pass, length, per_token_time, facts.linear_head)
    assert planned == pytest.approx(counts[0], rel=0.02)
