"""Pocket's DiT, a LoRA on it, and what became of its weights."""

import pytest
import torch
from command import POCKET

WIDTH = 192  # pocket's


@pytest.fixture
def dit(nodes, host):
    return nodes["SpacetimeLoadDiT"]().run(POCKET)[0]


@pytest.fixture
def load(nodes):
    """`load(dit, name, strength, expert)`: the node's DiT and what it shows."""

    def run(*inputs):
        done = nodes["SpacetimeLoadLoRA"]().run(*inputs)
        return done["result"][0], done["ui"]["text"][0]

    return run


def weights(dit):
    return dit.adapter.transformer.state_dict()


def changed(dit, other):
    return {key for key, value in weights(dit).items() if not torch.equal(value, weights(other)[key])}


def pair(wide=WIDTH, tall=WIDTH, rank=4):
    torch.manual_seed(0)
    return {"lora_A.weight": torch.randn(rank, wide) * 0.1, "lora_B.weight": torch.randn(tall, rank) * 0.1}


def of(layer, parts):
    return {f"{layer}.{part}": value for part, value in parts.items()}


QUERY, ITS_WEIGHT = "diffusion_model.blocks.0.self_attn.q", "blocks.0.attn1.to_q.weight"
