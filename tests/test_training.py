"""Training's shortcuts give Wan's own numbers, and a run that was cut off goes on."""

import random

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from einops import rearrange
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.spacetime import canvas
from spacetime_nodes.training import fast_dit, train_dit, train_vae, world
from spacetime_nodes.training.optim import Average, Muon, orthogonalise
from spacetime_nodes.training.reading import ASKED, Reading, questions
from spacetime_nodes.training.run import Run
from spacetime_nodes.training.seeing import POSE, Seeing, sights


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_whole_sequence_equals_chunks(frames):
    torch.manual_seed(0)
    vae = AutoencoderKLWan(**train_vae.CONFIG).eval()
    clip = torch.rand(1, frames, 32, 48, 3)
    with torch.no_grad():
        latents = vae.encode(rearrange(clip * 2 - 1, "b f h w c -> b c f h w")).latent_dist.mode()
        rebuilt = rearrange(vae.decode(latents).sample, "b c f h w -> b f h w c") / 2 + 0.5
        with train_vae.whole_sequence(vae):
            mine = train_vae.encode(vae, clip)[0]
            my_clip = train_vae.decode(vae, mine).clamp(0, 1)
    assert (mine - latents).abs().max() < 1e-5
    assert (my_clip - rebuilt).abs().max() < 1e-5
    assert "forward" not in vars(vae.encoder.down_blocks[1])  # its own methods are back


@pytest.mark.parametrize("padded_to", [64, 512])
def test_fast_forward_equals_wan(padded_to):
    torch.manual_seed(0)
    dit = WanTransformer3DModel(**{**train_dit.TRANSFORMER, "num_layers": 2}).eval()
    with torch.no_grad():
        for p in dit.parameters():  # norms, biases and gates at their initial values would hide mistakes
            p.add_(0.2 * torch.randn_like(p)) if p.ndim < 2 or p.shape[0] == 1 else None
    latents, timestep, lengths = torch.randn(3, 16, 5, 6, 8), torch.rand(3) * 1000, torch.tensor([3, 7, 1])
    text = torch.randn(3, 9, 64) * (torch.arange(9) < lengths[:, None])[..., None]
    free = torch.ones(5, 6, 8)
    free[0] = 0
    free[3, 2:4, 4:8] = 0
    known = fast_dit.patch_known(free, (1, 2, 2))
    with torch.no_grad():
        full = torch.nn.functional.pad(text, (0, 0, 0, padded_to - 9))
        theirs = dit(latents, timestep[:, None] * ~known, full, return_dict=False)[0]
        mine, _ = fast_dit.forward(dit, latents, timestep, known, text, lengths, padded_to, torch.float32)
    assert (mine - theirs).abs().max() < 1e-4 * theirs.abs().max()


def test_known_cells_take_every_form():
    rng, counts = random.Random(0), {"none": 0, "first": 0, "last": 0, "both": 0, "box": 0}
    for _ in range(400):
        free = train_dit.draw_free(rng, (5, 8, 8))
        assert free.any()
        frames = free.flatten(1).mean(1)
        assert torch.equal(free, free[:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2))
        counts["none"] += bool(free.all())
        counts["first"] += bool(frames[0] == 0 and frames[1:].all())
        counts["last"] += bool(frames[-1] == 0 and frames[:-1].all())
        counts["both"] += bool(frames[0] == 0 and frames[-1] == 0 and frames.any())
        counts["box"] += bool(((frames > 0) & (frames < 1)).any())
    assert 200 < counts["none"] < 300 and all(n > 5 for n in counts.values()), counts


def test_a_window_amid_a_clip_is_the_end_of_what_the_whole_clip_encodes_to():
    torch.manual_seed(0)
    vae = AutoencoderKLWan(**train_vae.CONFIG).eval()
    bucket = train_dit.Bucket(8, 48, 48, 1, 1.0, 2, amid=True)
    bucket.refresh(vae, random.Random(3), 2, {})
    clips = world.render(bucket.scenes, 48, 48, train_dit.PREROLL + 8)
    whole = train_dit.normalised(vae, clips)
    assert bucket.latents.shape[2] == 2  # 4 frames each: none of them holds one frame alone
    assert torch.equal(bucket.latents, whole[:, :, -2:])
    rng = random.Random(0)
    assert all(not train_dit.draw_free(rng, (5, 8, 8), train_dit.KNOWN_AMID)[0].any() for _ in range(50))


def test_known_frames_are_what_a_canvas_makes_of_them(pocket):
    """Those after the first look back on nothing but themselves; the first frames as they are."""
    rng = random.Random(4)
    scenes = [world.sample_scene(rng, width=64, height=64, frames=17, motions=("left", "up")) for _ in range(2)]
    clips, vae = world.render(scenes, 64, 64, 17), pocket.vae.module
    whole = train_dit.normalised(vae, clips)
    free = torch.ones(5, 8, 8)
    free[0] = free[2:4] = 0
    given = train_dit.placed(vae, whole, free, lambda: clips, 0, rng)
    assert torch.equal(given[:, :, [0, 1, 4]], whole[:, :, [0, 1, 4]])
    encoder = canvas.Encoder(4, pocket.vae.encode_stream)
    mean, std = (torch.tensor(v).view(-1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std))
    for clip, mine, context in zip(clips, given.float(), whole.float(), strict=True):
        video = StreamVideo(lambda clip=clip: iter([clip[5:13]]), width=64, height=64, frame_count=8, fps=8)
        latent, frames = canvas.place({"samples": torch.zeros(1, 16, 5, 8, 8)}, video, 5, encoder)
        theirs = (latent["samples"][0] - mean) / std
        away = [(other - theirs)[:, 2:4].abs().mean() for other in (mine, context)]
        assert frames == range(5, 13) and away[0] < 0.02 and away[1] > 5 * away[0], away


def test_one_known_latent_frame_may_be_an_image_held(pocket):
    rng, free = random.Random(0), torch.ones(3, 8, 8)
    free[2] = 0
    (scene,) = [world.sample_scene(rng, width=64, height=64, frames=9, motions=("left",))]
    clip = world.render([scene], 64, 64, 9)
    whole = train_dit.normalised(pocket.vae.module, clip)
    seen = {
        train_dit.placed(pocket.vae.module, whole, free, lambda: clip, 0, rng).double().sum().item() for _ in range(48)
    }
    assert len(seen) == 5  # the clip's four frames, and each of them as an image


def test_a_clip_gone_astray_beside_known_cells_is_to_be_led_back(monkeypatch):
    torch.manual_seed(0)
    right = torch.randn(64, 16, 3, 4, 4)
    wrong = right + 100
    free = torch.ones(3, 4, 4)
    seen = []

    def knows_the_way(dit, noisy, timestep, known, *_):
        sigma = (timestep / 1000).view(-1, 1, 1, 1, 1)
        seen.append((noisy, sigma))
        return (noisy - right) / sigma, None

    monkeypatch.setattr(train_dit.fast_dit, "forward", knows_the_way)

    def loss(strayed):
        return train_dit.loss_of(None, None, None, right, free, 64, strayed)[0]

    def astray():
        noisy, sigma = seen[-1]
        return ((noisy - (1 - sigma) * right)[:, :, :2] / sigma).mean((1, 2, 3, 4)) > 0.3

    assert loss(None) < 1e-4 and not astray().any()
    assert loss(wrong) < 1e-4 and not astray().any()  # nothing known: nothing says which of the two is right
    free[2] = 0
    assert loss(wrong) < 1e-4 and 10 < astray().sum() < 50
    noisy, sigma = seen[-1]
    assert torch.equal(noisy[:, :, 2], right[:, :, 2])
    assert (sigma.flatten()[astray()] > train_dit.STRAY_UNTIL).all()


def test_a_scene_astray_is_the_same_a_little_off():
    scene = world.sample_scene(random.Random(1), width=64, height=64, frames=17, things=2)
    off = [train_dit.astray(scene, random.Random(seed)) for seed in range(200)]
    for at, thing in enumerate(scene.things):
        moved = torch.tensor([[o.things[at].x - thing.x, o.things[at].y - thing.y] for o in off])
        assert 0.01 < moved.std() < 0.03 and moved.abs().max() < 0.1
        assert {(o.things[at].colour, o.things[at].shape, o.things[at].motion) for o in off} == {
            (thing.colour, thing.shape, thing.motion)
        }
    assert {(o.background, o.camera, o.dapple) for o in off} == {(scene.background, scene.camera, scene.dapple)}


def test_a_scene_later_is_what_its_clip_shows_later():
    for seed in range(20):
        scene = world.sample_scene(
            random.Random(seed),
            width=64,
            height=64,
            frames=9,
            pan=0,
            pairs=0.5,
            motions=("left", "up", "spin", "still"),
        )
        assert torch.allclose(
            world.render([scene], 64, 64, 33)[:, 24:], world.render([world.later(scene, 3.0)], 64, 64, 9), atol=1e-4
        )
    panned = world.sample_scene(random.Random(0), width=64, height=64, frames=9, pan=1, motions=("spin",))
    assert world.later(panned, 3.0) == panned


def test_the_reading_lesson_asks_of_each_thing_what_that_thing_is():
    tokenizer, rng = train_dit.build_tokenizer(), random.Random(1)
    scenes = [world.sample_scene(rng, width=64, height=64, frames=17, pairs=0.5) for _ in range(200)]
    captions = [world.caption(scene, rng, "mixed") for scene in scenes]
    ids = tokenizer(["", *captions], padding=True, return_tensors="pt").input_ids
    where, answers = questions(ids, [scenes[0], *scenes], tokenizer)
    assert len(where) == len(answers) == 2 * sum(len(scene.things) for scene in scenes)  # of "" nothing is asked
    asked = iter(zip(where.tolist(), answers.tolist(), strict=True))
    for row, scene in enumerate(scenes, start=1):
        for thing in scene.things:
            words = [(thing.colour,), world.SYNONYMS[thing.shape]]
            for right in words:
                (found, position), answer = next(asked)
                told = {name: options[i] for (name, options), i in zip(ASKED.items(), answer, strict=True)}
                assert found == row and tokenizer.convert_ids_to_tokens(ids[row, position].item()) in right
                assert told == {name: getattr(thing, name) for name in ASKED}


def test_the_reading_lesson_teaches_the_encoder_and_asks_nothing_of_nothing():
    torch.manual_seed(0)
    lesson, text = Reading(8), torch.randn(1, 4, 8, requires_grad=True)
    lesson(text, torch.tensor([[0, 2]]), torch.tensor([[1, 2, 3, 0, 1]])).backward()
    assert text.grad[0, 2].abs().sum() > 0 and text.grad[0, [0, 1, 3]].abs().sum() == 0
    assert lesson(text, torch.empty(0, 2, dtype=torch.long), torch.empty(0, 5, dtype=torch.long)) == 0


def test_tokens_are_tapped_in_their_own_order_after_the_layer_asked_for():
    torch.manual_seed(0)
    dit = WanTransformer3DModel(**{**train_dit.TRANSFORMER, "num_layers": 2}).eval()
    layers = []
    for block in dit.blocks:
        block.register_forward_hook(lambda _, __, output: layers.append(output))
    latents, known = torch.randn(1, 16, 2, 4, 4), torch.tensor([True, False, False, True, False, True, False, False])
    text, times = torch.zeros(1, 65, 64), torch.full((1,), 500.0)
    with torch.no_grad():
        dit(latents, times[:, None] * ~known, text[:, :64])
        _, tapped = fast_dit.forward(dit, latents, times, known, text, torch.tensor([3]), 64, torch.float32, tap=1)
    assert (tapped - layers[0]).abs().max() < 1e-4 * layers[0].abs().max()


@pytest.mark.parametrize(("frames", "amid"), [(17, False), (29, True)])
def test_the_seeing_lesson_knows_what_stands_at_each_token_and_where(frames, amid):
    rng, first = random.Random(2), 3 * amid
    scenes = [world.sample_scene(rng, width=112, height=64, frames=frames) for _ in range(60)]
    answers, poses = sights(scenes, 112, 64, frames, first)
    cover = world.render_with_coverage(scenes, 112, 64, frames)[1][:, 4 * first :: 4]
    cover = rearrange(cover, "b t (h p) (w q) -> b (t h w) (p q)", p=16, q=16).mean(-1)
    stands = answers[..., 0] >= 0
    assert stands[cover > 0.3].all() and (cover[stands] > 0).float().mean() > 0.9 and not stands[cover == 0].all()
    assert poses.shape == (*answers.shape[:2], POSE)
    for i, scene in enumerate(scenes[:20]):
        told = {tuple(row) for row in answers[i][stands[i]].tolist()}
        things = [[options.index(getattr(thing, name)) for name, options in ASKED.items()] for thing in scene.things]
        assert told <= {tuple(right) for right in things} and told
    alone = next(i for i, s in enumerate(scenes) if len(s.things) == 1 and s.things[0].motion == "right")
    x = torch.tensor([p[0] for p in world.trajectory(scenes[alone], 0, 112, 64, frames)[4 * first :: 4]])
    column = rearrange(torch.arange(7) + 0.5, "w -> 1 1 w").expand(len(x), 4, 7)
    seen = column - rearrange(poses[alone, :, 0].float(), "(t h w) -> t h w", h=4, w=7)  # the thing's column
    there = rearrange(stands[alone], "(t h w) -> t h w", h=4, w=7)
    assert torch.allclose(seen[there], (4 * x)[:, None, None].expand_as(seen)[there], atol=0.01)


def test_where_two_things_meet_the_nearer_one_is_seen():
    small = world.Thing("circle", "red", "still", radius=0.15, x=0.625, y=0.375)
    large = world.Thing("circle", "blue", "still", radius=0.3, x=0.375, y=0.375)
    for things in ((small, large), (large, small)):
        answers, _ = sights([world.Scene("black", things)], 64, 64, 1)
        colours = [ASKED["colour"][i] for i in answers[0, 5:7, 0].tolist()]  # second row, the tokens of both centres
        assert colours == ["blue", "red"]


def test_the_seeing_lesson_teaches_the_tokens_where_things_stand():
    torch.manual_seed(0)
    lesson, tokens = Seeing(8), torch.randn(1, 3, 8, requires_grad=True)
    nothing = torch.full((1, 3, len(ASKED)), -1, dtype=torch.int8)
    poses = torch.zeros(1, 3, POSE).half()
    empty = lesson(tokens, nothing, poses)
    one = nothing.clone()
    one[0, 1] = torch.tensor([1, 2, 3, 0, 1])
    told = lesson(tokens, one, poses)
    assert empty.isfinite() and told.isfinite() and told != empty
    for name in ("hidden", "there", "heads", "pose"):
        assert all(
            g.abs().sum() > 0 for g in torch.autograd.grad(told, getattr(lesson, name).parameters(), retain_graph=True)
        )
    worse = lesson(tokens, one, poses + 5)
    assert worse > told


def test_orthogonalise_makes_singular_values_alike():
    torch.manual_seed(0)
    for rows, columns in ((16, 64), (64, 16)):  # a square of noise has values too near zero to lift
        values = torch.linalg.svdvals(orthogonalise(torch.randn(2, rows, columns)).float())
        assert values.min() > 0.3 and values.max() < 1.4


def test_muon_fits_a_matrix():
    torch.manual_seed(0)
    target, weight = torch.randn(8, 8), torch.nn.Parameter(torch.zeros(8, 8))
    muon = Muon([weight], lr=0.05)
    for _ in range(300):
        weight.grad = None
        (weight - target).square().mean().backward()
        muon.step()
    assert (weight - target).square().mean() < 0.05


def test_pocket_tokenizer_knows_its_world_and_names_what_it_does_not():
    tokenizer = train_dit.build_tokenizer()
    ids = tokenizer("A Red circle, moving right.").input_ids
    assert tokenizer.unk_token_id not in ids and ids[-1] == tokenizer.eos_token_id and len(ids) == 6
    assert tokenizer.unk_token_id in tokenizer("a red dragon").input_ids
    assert max(tokenizer.get_vocab().values()) < train_dit.TEXT_ENCODER["vocab_size"]


def test_a_run_trains_saves_resumes_and_ends_as_a_diffusers_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(train_vae, "BUCKETS", [(1, 48, 48, 2, 1), (5, 48, 48, 1, 1)])
    monkeypatch.setattr(train_dit, "NEAR", [(5, 48, 48, 2, 1.0, 4)])
    monkeypatch.setattr(train_dit, "FAR", [(1, 48, 48, 2, 1.0, 4)])
    device = torch.device("cpu")
    train_vae.train(tmp_path, 0.03, device, seed=0)
    config = AutoencoderKLWan.from_pretrained(tmp_path / "vae").config
    assert any(abs(m) > 1e-4 for m in config.latents_mean)
    train_dit.train(tmp_path, 0.1, device, seed=0)
    saved = torch.load(tmp_path / "dit_run" / "checkpoint.pt", weights_only=True)
    train_dit.train(tmp_path, 0.2, device, seed=0)
    resumed = torch.load(tmp_path / "dit_run" / "checkpoint.pt", weights_only=True)
    assert resumed["step"] > saved["step"] > 0 and resumed["seconds"] > saved["seconds"]
    assert WanTransformer3DModel.from_pretrained(tmp_path / "transformer").config.num_layers == 8


def test_averages_survive_a_restart(tmp_path):
    module = torch.nn.Linear(2, 2)
    average = Average(module)
    run = Run(tmp_path, 1.0, {"module": module, "average": average}, [])
    with torch.no_grad():
        module.weight.fill_(1.0)
    average.update(module)
    run.step = 7
    run._save()
    again = Average(torch.nn.Linear(2, 2))
    reloaded = Run(tmp_path, 1.0, {"module": torch.nn.Linear(2, 2), "average": again}, [])
    assert torch.equal(again.state["weight"], average.state["weight"]) and reloaded.step == again.steps == 7


def test_latents_are_steady_where_their_size_stays_whatever_it_is():
    noise = torch.randn(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    growing = torch.tensor([1.0, 2.0, 4.0, 8.0]).view(1, 1, 4, 1, 1)
    steady, rising = train_vae.unsteadiness(noise), train_vae.unsteadiness(noise * growing)
    assert steady < 0.01 < 1 < rising and torch.isclose(train_vae.unsteadiness(9 * noise * growing), rising)
    assert train_vae.unsteadiness(noise[:, :, :1]) == 0


def test_weight_decay_reaches_the_matrices():
    from spacetime_nodes.training.optim import optimizers

    weight, bias = torch.nn.Parameter(torch.ones(4, 4)), torch.nn.Parameter(torch.ones(4))
    weight.grad, bias.grad = torch.zeros(4, 4), torch.zeros(4)
    for optimizer in optimizers([weight], [bias], 0.1, 0.1, weight_decay=0.5):
        optimizer.step()
    assert torch.allclose(weight, torch.tensor(0.95)) and torch.equal(bias.data, torch.ones(4))
