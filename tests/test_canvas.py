"""What is placed on a canvas stays: its cells for the sampler, its pixels for whoever watches."""

import pytest
import torch
from spacetime_nodes.media.fit import fitted, resized
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.spacetime import canvas, timeline
from spacetime_nodes.spacetime.region import Region
from spacetime_nodes.spacetime.timeline import Span


def clip(frames, size=48, seed=0, fps=8, width=None):
    pixels = torch.rand(frames, size, width or size, 3, generator=torch.Generator().manual_seed(seed))
    pixels = (pixels * 255).round() / 255
    return StreamVideo(
        lambda: iter(pixels.split(3)), width=width or size, height=size, frame_count=frames, fps=fps
    ), pixels


def empty(latent_frames, size=48):
    return {"samples": torch.zeros(1, 16, latent_frames, size // 8, size // 8), "fps": 8.0}


@pytest.fixture(scope="module")
def encoder(pocket):
    return canvas.Encoder(pocket.vae.config.time_factor, pocket.vae.encode_stream)


def shown(pocket, latent):
    return torch.cat(list(timeline.assemble(pocket.vae.decode_stream(latent["samples"]), latent["timeline"])))


def test_encoding_in_a_stream_equals_the_whole_encode(pocket):
    _, pixels = clip(9)
    with torch.no_grad():
        whole = pocket.vae.module.encode(pixels.permute(3, 0, 1, 2)[None] * 2 - 1).latent_dist.mode()
    stream = list(pocket.vae.encode_stream([pixels[:3], pixels[3:8], pixels[8:]]))
    assert len(stream) == 3 and torch.equal(torch.cat(stream, 2), whole)
    with pytest.raises(ValueError, match=r"8 frames don't fit this VAE \(4k\+1 frames\): 5 would"):
        list(pocket.vae.encode_stream([pixels[:8]]))


@pytest.mark.parametrize("first, count, known", [(0, 9, (0, 9)), (0, 7, (0, 5)), (1, 8, (1, 9)), (3, 12, (5, 13))])
def test_a_clip_is_known_where_it_covers_latent_frames_wholly(encoder, first, count, known):
    video, _ = clip(count)
    latent, frames = canvas.place(empty(5), video, first, encoder)
    assert (frames.start, frames.stop) == known
    per_frame = latent["noise_mask"][0, 0].flatten(1).mean(1).repeat_interleave(4)[3:]  # the first holds one frame
    assert per_frame.tolist() == [0.0 if known[0] <= i < known[1] else 1.0 for i in range(17)]
    assert latent["timeline"][1 if known[0] else 0].source.frame_count == len(frames)


@pytest.mark.parametrize("frame, latent_frame", [(0, 0), (1, 1), (4, 1), (5, 2), (16, 4)])
def test_an_image_is_held_over_its_latent_frame_and_shown_at_its_time(pocket, encoder, frame, latent_frame):
    video, pixels = clip(1)
    latent, _ = canvas.place(empty(5), video, frame, encoder)
    assert latent["noise_mask"][0, 0].flatten(1).mean(1).tolist() == [float(i != latent_frame) for i in range(5)]
    assert torch.equal(shown(pocket, latent)[frame], pixels[0])


def test_placing_twice_keeps_both(pocket, encoder):
    (head, a), (tail, b) = clip(5), clip(4, seed=1)
    latent, _ = canvas.place(empty(5), head, 0, encoder)
    latent, _ = canvas.place(latent, tail, 13, encoder)
    video = shown(pocket, latent)
    assert len(video) == 17 and torch.equal(video[:5], a) and torch.equal(video[13:], b)
    assert latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 0, 1, 1, 0]


def test_strength_leaves_cells_partly_known_and_the_video_as_decoded(pocket, encoder):
    video, pixels = clip(5)
    latent, _ = canvas.place(empty(3), video, 0, encoder, strength=0.75)
    assert latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0.25, 0.25, 1] and "timeline" not in latent
    for wrong in (-0.1, 1.1):
        with pytest.raises(ValueError, match="strength"):
            canvas.place(empty(3), video, 0, encoder, strength=wrong)


@pytest.mark.parametrize(
    "first, count, says",
    [(-1, 5, "canvas of 9"), (5, 5, "canvas of 9"), (2, 3, "no whole latent frame"), (9, 1, "0–8")],
)
def test_what_does_not_fit_is_one_clear_line(encoder, first, count, says):
    with pytest.raises(ValueError, match=says):
        canvas.place(empty(3), clip(count)[0], first, encoder)


def test_overlapping_placements_are_refused(encoder):
    latent, _ = canvas.place(empty(3), clip(5)[0], 0, encoder)
    with pytest.raises(ValueError, match="overlap"):
        canvas.place(latent, clip(4)[0], 1, encoder)


@pytest.mark.parametrize("count", [1, 5, 18, 30])
@pytest.mark.parametrize("forward, backward", [(8, 0), (0, 8), (8, 8)])
def test_extending_keeps_every_source_frame_bit_for_bit(pocket, encoder, count, forward, backward):
    video, pixels = clip(count)
    if backward and count < 4:
        with pytest.raises(ValueError, match="too short"):
            canvas.extend(video, forward, backward, encoder, empty)
        return
    latent = canvas.extend(video, forward, backward, encoder, empty)
    before = 9 if backward else 0
    out = shown(pocket, latent)
    assert torch.equal(out[before : before + count], pixels)
    assert len(out) == before + count + forward == timeline.frame_count(latent["timeline"])
    assert latent["noise_mask"].mean() > 0 and latent["timeline"][-1].last == (latent["samples"].shape[2] - 1) * 4 + 1


def test_connecting_keeps_both_clips_bit_for_bit(pocket, encoder):
    (left, a), (right, b) = clip(18), clip(11, seed=1)
    latent = canvas.connect(left, right, 8, encoder, empty)
    out = shown(pocket, latent)
    assert torch.equal(out[:18], a) and torch.equal(out[-11:], b) and len(out) == 18 + 8 + 11


def test_what_the_vae_lost_fades_out_on_both_sides_of_a_source():
    gray, brighter = torch.full((21, 16, 16, 3), 0.5), torch.full((5, 16, 16, 3), 0.6)
    source = StreamVideo(lambda: iter([brighter]), width=16, height=16, frame_count=5, fps=8)
    spans = (Span(0, 8), Span(8, 13, source), Span(13, 21))
    levels = torch.cat(list(timeline.assemble(iter(gray.split(4)), spans, fade=4)))[:, 0, 0, 0]
    rising = torch.tensor([0.5] * 4 + [0.52, 0.54, 0.56, 0.58])
    assert torch.allclose(levels, torch.cat([rising, torch.full((5,), 0.6), rising.flip(0)]), atol=1e-6)


def test_a_thing_that_stands_elsewhere_at_a_join_leaves_no_ghost():
    """Where the model leads to another place than the source begins at, that is no loss of the VAE's to hand on."""
    pixels, canvas = torch.full((4, 16, 32, 3), 0.2), torch.full((9, 16, 32, 3), 0.2)
    pixels[:, :, :8], canvas[:, :, 16:24] = 0.9, 0.9  # bright here, and there
    source = StreamVideo(lambda: iter([pixels]), width=32, height=16, frame_count=4, fps=8)
    out = torch.cat(list(timeline.assemble(iter(canvas.split(4)), (Span(0, 5), Span(5, 9, source)))))
    assert torch.equal(out[:5], canvas[:5]) and torch.equal(out[5:], pixels)


def test_between_two_joins_that_are_near_the_loss_counts_once():
    gray, brighter = torch.full((12, 16, 16, 3), 0.5), torch.full((4, 16, 16, 3), 0.6)
    source = StreamVideo(lambda: iter([brighter]), width=16, height=16, frame_count=4, fps=8)
    spans = (Span(0, 4, source), Span(4, 8), Span(8, 12, source))
    levels = torch.cat(list(timeline.assemble(iter(gray.split(4)), spans)))[4:8, 0, 0, 0]
    assert torch.allclose(levels, torch.full((4,), 0.6), atol=1e-6)


def checks(strength: float) -> torch.Tensor:
    """[1, 16, 32, 3] about 0.5"""
    signs = (torch.arange(16)[:, None] + torch.arange(32)) % 2 * 2.0 - 1
    return (0.5 + strength * signs)[None, ..., None].expand(-1, -1, -1, 3)


def after_a_join(shown: torch.Tensor, decoded: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """What becomes of four `following` frames after a source that shows four times `shown` instead of `decoded`."""
    source = StreamVideo(lambda: iter([shown.expand(4, -1, -1, -1)]), width=32, height=16, frame_count=4, fps=8)
    chunks = [frame.expand(4, -1, -1, -1) for frame in (decoded, following)]
    return torch.cat(list(timeline.assemble(iter(chunks), (Span(0, 4, source), Span(4, 8)))))[4:]


def test_edges_that_stand_elsewhere_at_a_join_are_not_handed_on():
    flat = torch.full((1, 16, 32, 3), 0.5)
    assert torch.allclose(after_a_join(checks(0.5), flat, flat), flat)


def test_detail_is_handed_on_at_a_join_where_the_picture_stands_still_and_nowhere_else():
    flat = torch.full((1, 16, 32, 3), 0.5)
    moved = flat.clone()
    moved[:, :, 16:] = 0.8
    out, detail = after_a_join(checks(0.06), flat, moved), checks(0.06) - 0.5
    weights = torch.tensor([8, 7, 6, 5]).view(-1, 1, 1, 1) / 9
    assert torch.allclose(out[:, :, :12] - 0.5, weights * detail[:, :, :12], atol=1e-6)
    assert torch.allclose(out[:, :, 18:], torch.tensor(0.8), atol=1e-6)


def test_a_clip_that_fits_passes_bit_for_bit_and_another_is_brought_to_size_and_said():
    video, pixels = clip(5)
    same, said = fitted(video, 48, 48, 8.0, "cover")
    assert said == [] and torch.equal(torch.cat(list(same.frames())), pixels)
    other, said = fitted(video, 64, 32, 16.0, "cover")
    assert said == ["8 frames per second → 16", "48×48 → 64×32 (cover)"]
    frames = torch.cat(list(other.frames()))
    assert frames.shape == (10, 32, 64, 3) == (other.get_frame_count(), other.height, other.width, 3)
    assert torch.equal(frames[0], frames[1]) and not torch.equal(frames[1], frames[2])


def test_cover_fills_contain_shows_all_stretch_bends():
    picture = torch.zeros(1, 32, 64, 3)
    picture[:, :, :8] = 1  # a bar at the left edge
    covered, contained, stretched = (resized(picture, 32, 32, fit) for fit in ("cover", "contain", "stretch"))
    assert covered.max() < 0.05
    assert contained[0, 16, :4].min() > 0.9 and contained[0, 16, 6:].max() < 0.1
    assert stretched[0, :, :3].min() > 0.9 and stretched[0, :, 6:].max() < 0.1
    with pytest.raises(ValueError, match="cover, contain, stretch"):
        fitted(clip(1)[0], 8, 8, None, "squeeze")


def test_a_hole_is_filled_smoothly_from_around_it():
    known = torch.ones(1, 1, 32, 32)
    known[..., 8:24, 8:24] = 0
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    filled = timeline.spread(ramp * known, known)
    assert (filled - ramp)[known > 0].abs().max() < 1e-6 and (filled - ramp).abs().max() < 0.2
    assert (filled[..., 16, 1:] - filled[..., 16, :-1]).abs().max() < 0.2


def test_nothing_of_what_stood_in_the_hole_reaches_the_model(encoder):
    free = torch.zeros(1, 48, 48)
    free[:, 16:32, 16:32] = 1
    clips = [clip(5)[1], clip(5)[1].clone()]
    clips[1][:, 16:32, 16:32] = 0
    made = [
        canvas.inpaint(
            StreamVideo(lambda c=c: iter([c]), width=48, height=48, frame_count=5, fps=8),
            Region.of_frames(free, 5),
            encoder,
        )["samples"]
        for c in clips
    ]  # fmt: skip
    assert torch.equal(*made)


def test_a_hole_takes_on_the_colour_that_the_vae_lost_around_it():
    decoded, kept = torch.full((5, 32, 32, 3), 0.5), torch.full((5, 32, 32, 3), 0.6)
    source = StreamVideo(lambda: iter([kept]), width=32, height=32, frame_count=5, fps=8)
    free = torch.zeros(5, 32, 32)
    free[:, 8:24, 8:24] = 1
    out = torch.cat(list(timeline.assemble(iter([decoded]), (Span(0, 5, source, free),))))
    assert torch.allclose(out, kept, atol=1e-5)
