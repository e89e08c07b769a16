"""What the tests ask of a DiT, however its weights are kept: a short sampling, their bytes, how far results differ."""

import torch


def sampled(nodes, dit, text_encoder, guidance=4.0):
    prompts = nodes["SpacetimeEncodePrompt"]().run(text_encoder, "red circle moving right", "")
    latent = {"samples": torch.zeros(1, 16, 3, 6, 6)}
    return nodes["SpacetimeSample"]().run(dit, *prompts, latent, 0, 3, guidance)[0]["samples"]


def held(dit):
    """Bytes of the transformer's parameters."""
    return sum(p.nbytes for p in dit.adapter.transformer.parameters())


def far(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())
