"""Wan 2.2 Animate equals diffusers': a character from a picture that follows poses and a face, goes on from a clip, or
takes somebody's place in one."""

from copy import deepcopy
from types import SimpleNamespace

import loras
import pytest
import torch
from bench import (
    GUIDANCE,
    NEGATIVE,
    NODES,
    PROMPT,
    SEED,
    STEPS,
    free_cells,
    free_region,
    grid,
    load,
    picture,
    result,
    sample,
    stock,
)  # fmt: skip
from PIL import Image
from test_wan import FRAMES, HEIGHT, WIDTH

NAME, SIDE = "Wan2.2-Animate", 8
SIZES = {"width": WIDTH, "height": HEIGHT, "segment_frame_length": FRAMES}


def clip(first, count=FRAMES, size=(WIDTH, HEIGHT)):
    """So many pictures of noise, as PIL images and as IMAGE."""
    pictures, pixels = zip(*(picture(*size, seed) for seed in range(first, first + count)), strict=True)
    return list(pictures), torch.cat(pixels)


POSES, FACES, CHARACTER = clip(20), clip(40, size=(SIDE, SIDE)), picture(48, 32, 90)
SHOWN = {"image": CHARACTER[0], "pose_video": POSES[0], "face_video": FACES[0], **SIZES}


def animated(model, canvas, poses=POSES[1], faces=FACES[1], character=CHARACTER[1]):
    """The canvas, which follows all three."""
    canvas = result("ReferenceImages", model.vae, canvas, character)[0]
    return result("ControlVideo", model.vae, canvas, "start", "cover", 1.0, images=poses, face_images=faces)[0]


def made(pipeline, guidance=GUIDANCE, **told):
    """Its last segment's raw latents, without the character's."""
    return stock(pipeline, guidance, **told)[:, :, 1:]


@pytest.fixture
def model(pipelines):
    pipelines(NAME)
    return load(NAME)


@pytest.mark.parametrize("size", [(48, 32), (WIDTH, HEIGHT), (20, 45)])
def test_a_character_moves_as_poses_and_a_face_do(pipelines, same, model, size):
    image, pixels = picture(*size, 90)
    theirs = made(pipelines(NAME), **{**SHOWN, "image": image})
    canvas = animated(model, grid(model, WIDTH, HEIGHT, FRAMES), character=pixels)
    run = lambda guidance: sample(model, canvas, guidance)["samples"]  # noqa: E731
    assert same(NAME, "reference image, control video, face video", run, theirs) == 0.0


def test_a_face_lies_in_memory_as_the_pipeline_s(pipelines, model):
    """By which kernels choose their order of adding: at other widths the last bits would differ."""
    theirs, pipeline = [], pipelines(NAME)
    note = lambda module, args, told: theirs.append(told["face_pixel_values"].stride())  # noqa: E731
    handle = pipeline.transformer.register_forward_pre_hook(note, with_kwargs=True)
    made(pipeline, **SHOWN)
    handle.remove()
    told = seen(model, animated(model, grid(model, WIDTH, HEIGHT, FRAMES)), guidance=GUIDANCE)
    ours = [one["face_pixel_values"].stride() for one in told]
    assert len(ours) == len(theirs) == 2 * STEPS and set(ours) == set(theirs)


def test_without_guidance(pipelines, model):
    theirs = made(pipelines(NAME), 1.0, **SHOWN)
    canvas = animated(model, grid(model, WIDTH, HEIGHT, FRAMES))
    assert torch.equal(sample(model, canvas, 1.0)["samples"], theirs)


def test_two_at_once(pipelines, same, model, monkeypatch):
    """The pipeline encodes the gray of both in one batch, whose last bits are others; here one after the other."""
    vae, encode = pipelines(NAME).vae, pipelines(NAME).vae.encode
    each = lambda x: SimpleNamespace(latents=torch.cat([encode(one).latents for one in x.split(1)]))  # noqa: E731
    prompts = {"prompt": [PROMPT] * 2, "negative_prompt": [NEGATIVE] * 2}
    blunt = made(pipelines(NAME), **SHOWN, **prompts)
    monkeypatch.setattr(vae, "encode", each)
    theirs = made(pipelines(NAME), **SHOWN, **prompts)
    assert 0 < (blunt - theirs).abs().max() < 1e-4
    canvas = animated(model, grid(model, WIDTH, HEIGHT, FRAMES, batch=2))
    run = lambda guidance: sample(model, canvas, guidance)["samples"]  # noqa: E731
    assert same(NAME, "reference image, control video, face video, two at once", run, theirs) == 0.0
    assert (theirs[0] - theirs[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("count", "frames"), [(1, FRAMES), (5, 13)])
@pytest.mark.parametrize("guidance", [GUIDANCE, 1.0])
def test_it_goes_on_from_a_clip(pipelines, same, model, monkeypatch, count, frames, guidance):
    """As the pipeline's segments do from the last frames of the one before: here the first one's are of a clip, and the
    second begins with the noise of a seed."""
    pipeline, (_, known) = pipelines(NAME), clip(60, frames)
    decoded = known.permute(3, 0, 1, 2)[None] * 2 - 1
    monkeypatch.setattr(pipeline.vae, "decode", lambda latent, return_dict: (decoded,))
    generator = torch.Generator().manual_seed(SEED)

    def again(pipeline, step, t, told):
        if step == STEPS - 1:
            generator.manual_seed(SEED)
        return told

    new = frames - count
    poses, faces = clip(20, frames + new), clip(60, frames + new, (SIDE, SIDE))
    told = {**SHOWN, "pose_video": poses[0], "face_video": faces[0], "segment_frame_length": frames}
    told |= {"prev_segment_conditioning_frames": count, "generator": generator, "callback_on_step_end": again}
    theirs = made(pipeline, guidance, **told)
    canvas = grid(model, WIDTH, HEIGHT, frames)
    canvas = result("PlaceFrames", model.vae, canvas, "start", "cover", 1.0, known[-count:])[0]
    canvas = animated(model, canvas, poses[1][new:], faces[1][new:])
    run, free = free_cells(model, canvas)
    if guidance == 1:
        assert torch.equal(run(1.0), theirs[:, :, free])
    else:
        assert same(NAME, "I2V" if count == 1 else "extend", run, theirs[:, :, free], "beside x") == 0.0


@pytest.mark.parametrize("guidance", [GUIDANCE, 1.0])
def test_it_takes_somebody_s_place(pipelines, same, model, guidance):
    """The pipeline's mode "replace": a region of a clip is made anew, cut out in black as its makers' program does."""
    shown = clip(60)[1]
    mask = torch.zeros(FRAMES, HEIGHT, WIDTH)
    mask[:, HEIGHT // 2 :, : WIDTH // 2] = 1
    cut = torch.where(mask[..., None] > 0, 0.0, shown)
    background, masks = (
        [Image.fromarray((one * 255).round().byte().numpy()) for one in video] for video in (cut, mask)
    )
    told = {**SHOWN, "mode": "replace", "background_video": background, "mask_video": masks}
    theirs = made(pipelines(NAME), guidance, **told)
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    box, whole = (0.0, 0.5, 0.5, 0.5), (0.0, 0.0, 0)  # x, y, width, height; start, end, feather
    canvas = result("MaskRegion", model.vae, canvas, *box, *whole, 0, 0, 0, 0, "cover", images=shown)[0]
    canvas = animated(model, canvas)
    run, free = free_region(model, canvas)
    assert 0.2 < free.float().mean() < 0.3
    if guidance == 1:
        assert torch.equal(run(1.0), theirs[free])
    else:
        assert same(NAME, "a region", run, theirs[free], "beside x") == 0.0


def test_a_lora_gives_what_it_gives_in_diffusers(pipelines, base, model):
    """Under its makers' names, where keys and values of the face are one layer."""
    pipeline, face = pipelines(NAME), "face_adapter.0.to_"
    copy = type(pipeline)(**{**pipeline.components, "transformer": deepcopy(pipeline.transformer)})
    copy.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    down, *ups = (0.3 * torch.randn(shape, generator=generator) for shape in ((4, 32), (32, 4), (32, 4)))
    factors = loras.factors(copy.transformer, only="attn|ffn")
    of_face = {f"{face}{part}": (down, up) for part, up in zip("kv", ups, strict=True)}
    copy.load_lora_weights(loras.diffusers({**factors, **of_face}), adapter_name="one")
    copy.fuse_lora(adapter_names=["one"])
    together = {"face_adapter.fuser_blocks.0.linear1_kv": (down, torch.cat(ups))}
    loras.save(base, "one.safetensors", loras.original(factors, "Wan") | loras.original(together))
    canvas = animated(model, grid(model, WIDTH, HEIGHT, FRAMES))
    plain = sample(model, canvas)["samples"]
    (model.dit,) = result("LoadLoRA", model.dit, "one.safetensors", 1.0, "auto")
    mine = sample(model, canvas)["samples"]
    assert torch.equal(mine, made(copy, **SHOWN)) and (mine - plain).abs().max() > 1e-2


# what it follows, and where


def seen(model, latent, **settings):
    """What the transformer is told in every pass, by name."""
    told = []
    hook = model.dit.adapter.transformer.register_forward_pre_hook(lambda *call: told.append(call[2]), with_kwargs=True)
    done = sample(model, latent, **{"guidance": 1.0, **settings})["samples"]
    hook.remove()
    assert done.isfinite().all()
    return told


@pytest.mark.parametrize("how", ["overlapping", "autoregressive"])
def test_every_window_sees_the_character_and_its_own_poses_and_faces(model, how):
    (_, poses), (_, faces) = clip(20, 17), clip(40, 17, (SIDE, SIDE))
    latent = animated(model, grid(model, WIDTH, HEIGHT, 17), poses, faces)  # 5 latent frames
    whole, *_ = seen(model, latent, windows="whole")
    told = seen(model, latent, windows=how, window=3, overlap=1)
    begins, poses = [], whole["pose_hidden_states"]
    for one in told:
        assert torch.equal(one["hidden_states"][:, 4:, 0], whole["hidden_states"][:, 4:, 0])
        begins += [i for i in range(3) if torch.equal(one["pose_hidden_states"], poses[:, :, i : i + 3])]
        assert torch.equal(one["face_pixel_values"], whole["face_pixel_values"][:, :, 4 * begins[-1] :][:, :, :9])
    assert len(begins) == len(told) == 2 * STEPS and set(begins) == {0, 2}


def test_where_nobody_is_shown_it_sees_black(model, hosted):
    latent = grid(model, WIDTH, HEIGHT, 17, fps=4.0)
    (_, poses), (_, faces) = clip(20, 4), clip(40, 9, (2 * SIDE, SIDE))
    latent = result("ControlVideo", model.vae, latent, "1s", "cover", 1.0, images=poses, face_images=faces)[0]
    told, *_ = seen(model, latent)
    pixels = told["face_pixel_values"].transpose(1, 2)[0]  # F, 3, side, side
    assert (pixels[:4] == -1).all() and (pixels[8:] == -1).all()
    middle = faces[:4, :, SIDE // 2 : SIDE // 2 + SIDE].permute(0, 3, 1, 2) * 2 - 1  # a square, cut out of its middle
    assert torch.allclose(pixels[4:8].cpu(), middle)
    black = torch.zeros(17, HEIGHT, WIDTH, 3)
    black[4:8] = poses
    cells = torch.cat(list(model.vae.encode_stream([black])), dim=2).to(pixels)
    assert torch.equal(told["pose_hidden_states"], model.dit.adapter.normalise(cells))


@pytest.mark.parametrize("batch", [1, 2])
def test_guidance_is_away_from_no_face(model, batch):
    latent = animated(model, grid(model, WIDTH, HEIGHT, FRAMES, batch=batch))
    apart, batched = (seen(model, latent, guidance=GUIDANCE, evaluation=how) for how in ("two passes", "batched"))
    assert not {"control video", "reference images", "face video"} & set(sample(model, latent)), "it was for this one"
    with_face, without, *_ = (one["face_pixel_values"] for one in apart)
    assert (without == -1).all() and with_face.std() > 0.1
    assert torch.equal(batched[0]["face_pixel_values"], torch.cat([without, with_face]))


def test_without_a_picture_or_poses_there_is_a_place_for_both(model):
    told, *_ = seen(model, grid(model, WIDTH, HEIGHT, FRAMES))
    first = told["hidden_states"][:, 4:, 0]
    assert (first[:, :4] == 1).all() and not first[:, 4:].any() and not told["pose_hidden_states"].any()
    assert (told["face_pixel_values"] == -1).all() and told["face_pixel_values"].shape[2] == FRAMES


def test_what_it_can_t_follow_is_told_before_anything_is_loaded(model, pipelines):
    pipelines("Wan2.1-VACE")
    other, canvas = load("Wan2.1-VACE"), grid(model, WIDTH, HEIGHT, FRAMES)
    planned = {"shape": list(canvas["samples"].shape), "fps": 8.0, "vae": model.vae}
    node = lambda name, *args, **more: NODES[f"Spacetime{name}"]().plan(model.vae, planned, *args, **more)[0]  # noqa: E731
    two = result("ReferenceImages", model.vae, canvas, clip(0, 2)[1])[0]
    half = result("ControlVideo", model.vae, canvas, "start", "cover", 0.5, images=POSES[1])[0]
    for who, real, dry, line in (
        (other, animated(model, canvas), node("ControlVideo", "start", "cover", 1.0, images=None, face=None),
         "a Wan VACE .* follows no face video; Wan Animate would be right"),
        (model, half, node("ControlVideo", "start", "cover", 0.5, images=None), "at strength 1 alone, found 0.5"),
        (model, two, {**planned, "reference images": (None, None)}, "takes one reference image, found 2"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=line):
            sample(who, real)
        with pytest.raises(ValueError, match=line):
            NODES["SpacetimeSample"]().plan(who.dit, None, None, dry, 0, 4, 4.0)
    with pytest.raises(ValueError, match="no clips are wired; wire exactly one"):
        result("ControlVideo", model.vae, canvas, "start", "cover", 1.0, face_images=FACES[1])


def test_the_plan_counts_the_character_s_place(model):
    canvas = grid(model, WIDTH, HEIGHT, FRAMES)
    for one in (canvas, animated(model, canvas)):
        assert NODES["SpacetimePlan"]()._made(model.dit, model.vae, one, 4, 4.0, 0, None).course.in_pass == 4 * 4


def test_it_says_what_it_is_for(hosted, model):
    assert any("shows the character of Reference Images as Control Video moves" in line for line in hosted.notices)
