"""Tiles of a VAE that streams: nearly the whole's result, for a fraction of its memory."""

import random

import pytest
import torch
from spacetime_nodes.model_loaders import memory, tiles
from spacetime_nodes.model_loaders.tiles import decoded, encoded, spans
from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as NODES
from spacetime_nodes.nodes.runtime import Interrupted
from spacetime_nodes.training import world

WIDTH, HEIGHT, FRAMES = 320, 272, 9  # two tiles by two, of pocket's 256 pixels


@pytest.fixture(scope="module")
def clip():
    scene = world.sample_scene(random.Random(3), width=WIDTH, height=HEIGHT, frames=FRAMES, split="all", **world.SIMPLE)
    return world.render([scene], HEIGHT, WIDTH, FRAMES)[0]


def vae(tiling):
    return NODES["SpacetimeLoadVAE"]().run("pocket (built in)", tiling=tiling)[0]


def both(one, clip):
    latent = torch.cat(list(one.encode_stream(clip.split(4))), 2)
    return latent, torch.cat(list(one.decode_stream(latent)))


def test_tiles_give_nearly_what_the_whole_gives(host, clip):
    (latent, frames), (tiled, tiles) = (both(vae(tiling), clip) for tiling in ("off", "on"))
    assert latent.shape == tiled.shape and frames.shape == tiles.shape == clip.shape
    assert 0 < (tiled - latent).abs().max() and (tiled - latent).abs().mean() < 0.04 * latent.std()
    assert 0 < (tiles - frames).abs().max() < 0.05 and (tiles - frames).abs().mean() < 0.001
    assert ((tiles - clip) ** 2).mean() < 1.01 * ((frames - clip) ** 2).mean()
    assert list((host.base / "temp").iterdir()) == [], "nothing is left behind"


def test_auto_takes_tiles_where_the_whole_would_not_fit(host, clip, monkeypatch):
    one = vae("auto")
    whole = one.decoding_bytes(HEIGHT, WIDTH, FRAMES)
    assert one.decoding_bytes(HEIGHT, WIDTH, FRAMES, tiled=True) < 0.8 * whole
    asked = []
    monkeypatch.setattr(memory, "make_room", lambda count, component: asked.append(count))
    for free, notices in ((whole, 0), (whole - 1, 1)):
        monkeypatch.setattr(memory, "free_bytes", lambda device, free=free: free)
        list(one.decode_stream(torch.zeros(1, 16, 3, HEIGHT // 8, WIDTH // 8)))
        assert len(host.notices) == notices
    assert "the VAE works in tiles: whole, it would take" in host.notices[0]
    assert asked == [whole, one.decoding_bytes(HEIGHT, WIDTH, FRAMES, tiled=True)]
    list(one.encode_stream(clip.split(4)))
    assert len(host.notices) == 2
    assert one.planned_bytes(HEIGHT, WIDTH, FRAMES, whole - 1) == asked[1]


def test_what_a_tile_holds_is_the_whole(host):
    latent = torch.randn(1, 16, 2, 32, 32, generator=torch.Generator().manual_seed(0))
    frames = [torch.cat(list(vae(tiling).decode_stream(latent))) for tiling in ("on", "off")]
    assert torch.equal(*frames)


@pytest.mark.parametrize(("size", "tile", "scale"), [(5, 8, 1), (8, 8, 2), (9, 8, 2), (33, 8, 8), (100, 32, 1)])
def test_every_place_counts_once(size, tile, scale):
    total = torch.zeros(size * scale)
    for begin, end, weight in spans(size, tile, scale):
        assert end - begin == min(size, tile) and len(weight) == (end - begin) * scale and weight.min() > 0
        total[begin * scale : end * scale] += weight
    assert torch.allclose(total, torch.ones_like(total))


def test_what_does_the_same_everywhere_is_put_together_as_it_was(tmp_path):
    """Decoding by repeating each cell, encoding by taking one of each."""
    latent = torch.rand(1, 3, 3, 20, 13)

    def decode(part):
        for one in part.repeat_interleave(2, 3).repeat_interleave(2, 4).split(1, dim=2):
            yield one[0].permute(1, 2, 3, 0)

    frames = torch.cat(list(decode(latent)))
    assert torch.allclose(torch.cat(list(decoded(decode, latent, 8, 2, tmp_path))), frames)

    def encode(chunks):
        for chunk in chunks:
            yield from chunk[:, ::2, ::2].permute(3, 0, 1, 2)[None].split(1, dim=2)

    made = list(encoded(encode, iter(frames.split([1, 2])), 8, 2, tmp_path))
    assert [one.shape[2] for one in made] == [1, 1, 1] and torch.allclose(torch.cat(made, 2), latent)


def test_amid_the_tiles_it_can_be_cancelled(host, clip):
    asked = []
    host.is_interrupted = lambda: asked.append(1) or len(asked) > 5
    one, latent = vae("on"), torch.zeros(1, 16, 3, HEIGHT // 8, WIDTH // 8)
    with pytest.raises(Interrupted):  # in the second tile; the first frame would come after the last
        next(one.decode_stream(latent))
    assert len(asked) == 6
    asked.clear()
    with pytest.raises(Interrupted):
        next(one.encode_stream(clip.split(4)))
    assert len(asked) == 6 and list((host.base / "temp").iterdir()) == []


def test_a_full_disk_is_one_clear_line(host, monkeypatch):
    class Full:
        def __init__(self, *_, **__):
            self.file = open("/dev/full", "wb", buffering=0)

        def __enter__(self):
            return self.file

        def __exit__(self, *_):
            self.file.close()

    monkeypatch.setattr(tiles.tempfile, "TemporaryFile", Full)
    with pytest.raises(OSError, match=r"^tiles wait in .*temp, which takes no .* more \(.*\); make room there$"):
        list(vae("on").decode_stream(torch.zeros(1, 16, 1, HEIGHT // 8, WIDTH // 8)))
