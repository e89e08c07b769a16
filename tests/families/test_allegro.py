"""Allegro equals diffusers, whose noise grows beyond the picture and whose first latent frame holds four frames."""

import torch
from bench import grid, load, picture, result, sample, stock
from spacetime_nodes.spacetime.schedule import as_loud, level, make_scheduler, seen_by_model

WIDTH, HEIGHT = 128, 128
THEIRS, OURS = 24, 21  # frames; ours hold the first alone


def test_text_to_video(pipelines, same):
    pipeline = pipelines("Allegro")
    latents = stock(pipeline, width=WIDTH, height=HEIGHT, num_frames=THEIRS)
    theirs = 1 / pipeline.vae.config.scaling_factor * latents
    model = load("Allegro")
    canvas = grid(model, WIDTH, HEIGHT, OURS)
    assert same("Allegro", "T2V", lambda guidance: sample(model, canvas, guidance)["samples"], theirs) == 0.0


def test_decoded_frames_are_the_pipelines_but_for_the_first_three(pipelines):
    pipeline = pipelines("Allegro")
    pipeline.vae.use_tiling = True
    theirs = stock(pipeline, width=WIDTH, height=HEIGHT, num_frames=THEIRS, output_type="pt")[0].permute(0, 2, 3, 1)
    model = load("Allegro")
    (images,) = result("DecodeImages", model.vae, sample(model, grid(model, WIDTH, HEIGHT, OURS)))
    assert len(images) == OURS and (images - theirs[3:]).abs().max() < 1e-5  # weights lie elsewhere: the last bits


def test_what_its_tiles_do_not_fill_is_no_black_edge(pipelines):
    """diffusers leaves 40 of these 168 columns and 8 of these 32 frames at 0."""
    pipelines("Allegro")
    model = load("Allegro")
    clip = torch.rand(29, 128, 168, 3, generator=torch.Generator().manual_seed(0))
    latent = torch.cat(list(model.vae.encode_stream([clip])), dim=2)
    assert latent.shape == (1, 4, 8, 16, 21) and (latent[..., -1].abs().amax((1, 3)) > 0).all()
    frames = torch.cat(list(model.vae.decode_stream(latent)))
    assert frames.shape == clip.shape and frames[-8:, :, -40:].std() > 1e-3


def test_known_cells_lie_at_the_level_of_the_rest(pipelines):
    """x0 + sigma·noise, seen as if both were of the picture's own size."""
    pipelines("Allegro")
    model = load("Allegro")
    scheduler = make_scheduler("auto", model.dit.config.scheduler)
    model.dit.adapter.set_timesteps(scheduler, 4, (1, 4, 6, 16, 16))
    noise = torch.randn(1, 4, 6, 16, 16)
    alpha, sigma = level(scheduler, 0, scheduler.timesteps[0])
    assert alpha == 1 and sigma > 50 and torch.allclose(as_loud(scheduler, noise), sigma * noise)
    assert abs(seen_by_model(scheduler, as_loud(scheduler, noise), scheduler.timesteps[0]).std() - 1) < 0.05
    clip = result("PlaceFrames", model.vae, grid(model, WIDTH, HEIGHT, OURS), "start", "cover", 1.0,
                  picture(WIDTH, HEIGHT)[1])[0]  # fmt: skip
    near, far = (sample(model, {"samples": clip["samples"], "fps": 8.0}, denoise=d)["samples"] for d in (0.25, 1.0))
    assert (near - clip["samples"]).abs().mean() < (far - clip["samples"]).abs().mean()
