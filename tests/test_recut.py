"""Trim, recut and blend: what is kept is kept bit for bit, and what can't be is one clear line."""

import math

import clips
import pytest
import torch
from spacetime_nodes.media.video import StreamVideo
from spacetime_nodes.spacetime import canvas, curves, recut, timeline


def video_of(frames, size=48, fps=8.0, seed=0):
    return clips.video_of(frames, size, fps, seed, sound=True)


def build(nodes, name, *args, **kwargs):
    result = nodes[name]().run(*args, **kwargs)
    return result["result"][0], result["ui"]["text"][0]


def decoded(nodes, pocket, latent):
    return nodes["SpacetimeDecodeImages"]().run(pocket.vae, latent)[0]


@pytest.fixture
def grid(nodes, pocket, host):
    return nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 9)["result"][0]


@pytest.fixture
def watch(nodes, pocket, host):
    """Samples a canvas in two steps and returns the video's frames."""

    def run(latent):
        text = nodes["SpacetimeEncodePrompt"]().run(pocket.text_encoder, "red circle moving right", "")
        (latent,) = nodes["SpacetimeSample"]().run(pocket.dit, *text, latent, 0, 2, 4.0)
        return decoded(nodes, pocket, latent)

    return run


# trim


@pytest.mark.parametrize(
    "start, end, frames", [(0.0, 0.0, (0, 12)), (0.5, 1.0, (4, 8)), (-0.5, 0.0, (8, 12)), (0.25, -0.25, (2, 10))]
)
def test_a_part_of_a_video_has_its_frames_and_its_sound(nodes, start, end, frames):
    video, pixels = video_of(12)
    part, told = build(nodes, "SpacetimeTrim", video, start, end)
    first, last = frames
    assert torch.equal(torch.cat(list(part.frames())), pixels[first:last])
    assert part.get_frame_count() == last - first and told.startswith(f"{last - first} frames")
    assert torch.equal(part.get_audio()["waveform"][0, 0], torch.arange(first * 2.0, last * 2.0))


def test_clips_follow_each_other_with_their_sound(nodes, host):
    (left, a), (right, b), (silent, c) = video_of(5), video_of(4, seed=1), clips.video_of(3, seed=2)
    film, told = build(nodes, "SpacetimeJoinClips", left, right, "cover", silent)
    assert torch.equal(torch.cat(list(film.frames())), torch.cat([a, b, c])) and told == "12 frames, 1.50 s"
    waves = [clip.get_audio()["waveform"] for clip in (left, right)]
    assert film.get_audio()["sample_rate"] == clips.RATE
    assert torch.equal(film.get_audio()["waveform"], torch.cat([*waves, torch.zeros(1, 2, 6)], dim=2))
    assert host.notices == []


def test_a_joined_clip_of_another_size_rate_or_sound_is_fitted_and_said(nodes, host):
    (left, a), (other, _) = video_of(5), video_of(8, size=64, fps=16.0)
    other.audio = {**other.audio, "sample_rate": 2 * clips.RATE}
    film, told = build(nodes, "SpacetimeJoinClips", left, other, "cover")
    frames = torch.cat(list(film.frames()))
    assert frames.shape == (9, 48, 48, 3) and torch.equal(frames[:5], a) and told == "9 frames, 1.12 s"
    assert film.get_audio()["waveform"].shape == (1, 2, 18) and not film.get_audio()["waveform"][..., 10:].any()
    assert host.notices == [
        "clip 2: 16 frames per second → 8", "clip 2: 64×64 → 48×48 (cover)",
        "clip 2: its sound of another rate is left out",
    ]  # fmt: skip
    plain, _ = build(nodes, "SpacetimeJoinClips", clips.video_of(2)[0], clips.video_of(2)[0], "cover")
    assert plain.get_audio() is None and plain.get_frame_count() == 4


def test_trimming_reads_no_frame(nodes):
    def frames():
        raise AssertionError("read")

    part, _ = build(nodes, "SpacetimeTrim", StreamVideo(frames, width=8, height=8, frame_count=9, fps=8), 0.5, 1.0)
    assert part.get_frame_count() == 4


OUTSIDE = [(1.0, 0.5), (1.0, 1.0), (2.0, 3.0), (0.0, 9.0), (-9.0, 0.0), (0.0, -9.0), (1.0, 1.01), (1.125, 0.0)]
NO_NUMBERS = [(math.nan, 0.0), (0.0, math.nan), (math.inf, 0.0), (0.0, -math.inf), (1e308, 0.0)]


@pytest.mark.parametrize("start, end", OUTSIDE + NO_NUMBERS)
def test_a_part_that_is_none_is_one_clear_line(nodes, pocket, grid, start, end):
    video, _ = video_of(9)
    says = "is no part of a clip of 1.125 s; start before end" if (start, end) in OUTSIDE else "can't be"
    recut_as = (start, end, "same", 0.0, 0.0, 0.0, "cover")
    for node, asked in (
        ("Trim", (video, start, end)),
        ("TrimLatent", (pocket.vae, grid, start, end)),
        ("Recut", (pocket.vae, grid, *recut_as, video)),
    ):
        with pytest.raises(ValueError, match=says) as error:
            build(nodes, f"Spacetime{node}", *asked)
        assert "\n" not in str(error.value)


def test_one_frame_is_a_clip_too():
    assert recut.frames_between(0, 0, 1, 8) == (0, 1)
    with pytest.raises(ValueError, match="no part"):
        recut.frames_between(0.5, 0, 1, 8)


def random_latent(latent_frames, batch=1):
    torch.manual_seed(3)
    return {"samples": torch.randn(batch, 16, latent_frames, 6, 6), "fps": 8.0, "kept": "as it was"}


def test_a_latent_cut_at_its_end_is_a_slice(nodes, pocket, host):
    latent = random_latent(4)
    latent["noise_mask"] = torch.linspace(0, 1, 4).view(1, 1, 4, 1, 1).expand(1, 1, 4, 6, 6)
    cut, told = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.0, 1.0)
    assert torch.equal(cut["samples"], latent["samples"][:, :, :3]) and told == "9 frames, 1.12 s"
    assert torch.equal(cut["noise_mask"], latent["noise_mask"][:, :, :3]) and cut["kept"] == "as it was"
    assert host.notices == ["8 frames → 9 (whole latent frames of 4)"]
    assert torch.equal(decoded(nodes, pocket, cut), decoded(nodes, pocket, latent)[:9])
    assert latent["samples"].shape[2] == 4  # a copy of the dict


@pytest.mark.parametrize("start, end, frames", [(0.5, 1.125, (4, 9)), (0.25, 0.0, (2, 11)), (-0.125, 0.0, (12, 13))])
def test_a_latent_cut_at_its_start_shows_the_same_frames(nodes, pocket, host, start, end, frames):
    latent, (first, last) = random_latent(4), frames
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, start, end)
    assert torch.equal(decoded(nodes, pocket, cut), decoded(nodes, pocket, latent)[first:last])
    assert cut["samples"].shape[2] == (last - first - 1) // 4 + 1
    assert not cut["noise_mask"].any() and cut["kept"] == "as it was"


def test_a_batch_cut_at_its_start_shows_each_of_its_own_videos(nodes, pocket, host):
    latent = random_latent(4, batch=2)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.5, 1.125)
    whole = decoded(nodes, pocket, latent).split(13)
    again = torch.cat([torch.cat(list(pocket.vae.encode_stream([one[4:9]])), 2) for one in whole])
    assert torch.equal(cut["samples"], again) and not {"noise_mask", "timeline"} & set(cut)
    assert "Decode shows what the VAE keeps of it" in host.notices[0]


@pytest.mark.parametrize("end", [34, 30, 20])  # in the new part, at the join, inside the clip
def test_a_cut_extension_keeps_the_clip_as_it_was(nodes, pocket, grid, end):
    video, pixels = video_of(30)
    latent, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", video=video)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.0, end / 8)
    frames = decoded(nodes, pocket, cut)
    kept = {34: 34, 30: 30, 20: 21}[end]
    assert len(frames) == kept and torch.equal(frames[:30], pixels[:kept])
    if end >= 30:
        assert torch.equal(cut["samples"], latent["samples"][:, :, : cut["samples"].shape[2]])


@pytest.mark.parametrize("end", [16, 18])  # inside the new part, at its end
def test_new_frames_before_a_clip_that_is_cut_off_stay_the_same(nodes, pocket, grid, host, end):
    (left, _), (right, _) = video_of(10), video_of(6, seed=1)
    latent, _ = build(nodes, "SpacetimeConnect", pocket.vae, grid, 1.0, 0.0, "cover", left, right)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.0, end / 8)
    frames = decoded(nodes, pocket, cut)
    assert len(frames) == 17 and torch.equal(frames, decoded(nodes, pocket, latent)[:17])


def test_nothing_cut_is_the_latent_itself(nodes, pocket, grid, host):
    video, _ = video_of(9)
    latent, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "backward", 1.0, 0.0, "cover", video=video)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.0, 0.0)
    assert cut is not latent and cut.keys() == latent.keys() and all(cut[key] is latent[key] for key in cut)


@pytest.mark.parametrize("start, end, frames", [(0.0, 1.125, (0, 9)), (0.5, 0.0, (4, 13))])
def test_a_cut_ring_is_a_ring_no_more_and_shows_the_same_frames(nodes, pocket, host, start, end, frames):
    latent, (first, last) = {**random_latent(4), "ring": True}, frames
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, start, end)
    assert torch.equal(decoded(nodes, pocket, cut), decoded(nodes, pocket, latent)[first:last]) and "ring" not in cut


def test_a_cut_inpainting_keeps_its_clip_and_its_hole(nodes, pocket, grid, host):
    video, pixels = video_of(13)
    box = (0.25, 0.25, 0.5, 0.5, 0.0, 0.0, 0, 0, 0, 0, 0, "cover")
    latent, _ = build(nodes, "SpacetimeMaskRegion", pocket.vae, grid, *box, video=video)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, latent, 0.0, 1.125)
    inside = torch.zeros(48, 48, dtype=torch.bool)
    inside[12:36, 12:36] = True
    frames = decoded(nodes, pocket, cut)
    assert torch.equal(frames, decoded(nodes, pocket, latent)[:9])
    assert torch.equal(frames[:, ~inside], pixels[:9, ~inside]) and not torch.equal(frames, pixels[:9])
    assert cut["timeline"][-1].last == 9 == len(cut["timeline"][-1].free)


def test_a_latent_without_a_rate_has_no_seconds(nodes, pocket):
    with pytest.raises(ValueError, match="no frame rate"):
        build(nodes, "SpacetimeTrimLatent", pocket.vae, {"samples": torch.zeros(1, 16, 3, 6, 6)}, 0.0, 0.5)


# recut


def flat_encoder(factor=4):
    """A VAE that keeps nothing but how many frames it saw."""

    def stream(chunks):
        count = sum(len(chunk) for chunk in chunks)
        assert (count - 1) % factor == 0
        return (torch.zeros(1, 16, 1, 1, 1) for _ in range((count - 1) // factor + 1))

    return canvas.Encoder(factor, stream)


def empty(latent_frames):
    return {"samples": torch.zeros(1, 16, latent_frames, 1, 1), "fps": 8.0}


def places(spans):
    """[(frame of the video at which a source begins, its Part)]."""
    at, found = 0, []
    for span in spans:
        if span.source:
            found.append((at, span.source))
        at += span.frame_count
    return found


@pytest.mark.parametrize("count", [*range(1, 11), 16, 17])
def test_whatever_is_kept_of_whatever_clip_stands_where_it_was(count):
    clip, _ = video_of(count, size=8)
    for first, last in ((a, b) for a in range(count) for b in range(a + 1, count + 1)):
        try:
            latent = recut.recut(clip, first, last, flat_encoder(), empty)
        except ValueError as error:
            assert "nothing is left to make anew" in str(error) and first < 5 and count - last < 6
            continue
        ((at, kept),) = places(latent["timeline"])
        assert at == kept.first <= first and kept.last >= last and last - first + 6 >= kept.frame_count
        assert abs(timeline.frame_count(latent["timeline"]) - count) <= 2
        free = latent["noise_mask"][0, 0, :, 0, 0]
        assert free.any() and not free.all() and latent["timeline"][-1].last == (len(free) - 1) * 4 + 1


@pytest.mark.parametrize(
    "start, end, kept, total", [(1.0, 1.5, (5, 13), 17), (0.0, 0.5, (0, 5), 17), (-0.5, 0.0, (13, 17), 17)]
)
def test_recut_keeps_the_part_and_makes_the_rest_anew(nodes, pocket, grid, watch, host, start, end, kept, total):
    video, pixels = video_of(17)
    asked = (start, end, "same", 0.0, 0.0, 0.0, "cover")
    latent, told = build(nodes, "SpacetimeRecut", pocket.vae, grid, *asked, video=video)
    frames, (first, last) = watch(latent), kept
    assert torch.equal(frames[first:last], pixels[first:last]) and len(frames) == total
    assert all(not torch.equal(frames[i], pixels[i]) for i in range(total) if not first <= i < last)
    assert told == f"{total} frames, 2.12 s; {total - last + first} of them new"
    grown = last - first - round(((end or 2.125) - start) * 8) if start >= 0 else 0
    assert any("are kept for" in notice for notice in host.notices) == bool(grown)


def test_recut_takes_a_length_before_and_after(nodes, pocket, grid, watch):
    video, pixels = video_of(17)
    asked = (0.5, 1.25, "chosen", 1.0, 0.5, 0.0, "cover")
    latent, told = build(nodes, "SpacetimeRecut", pocket.vae, grid, *asked, video=video)
    frames = watch(latent)
    assert torch.equal(frames[9:15], pixels[4:10]) and len(frames) == 9 + 6 + 4
    assert told == "19 frames, 2.38 s; 13 of them new"


@pytest.mark.parametrize("before, after", [(math.nan, 1.0), (1.0, math.inf), (-1.0, 1.0)])
def test_new_video_that_cannot_be_is_one_clear_line_before_anything_is_loaded(nodes, before, after):
    with pytest.raises(ValueError, match="before .* s and after .* s can't be; both are seconds from 0 on"):
        nodes["SpacetimeRecut"]().plan(None, None, 0.0, 0.0, "chosen", before, after, 0.0, "cover")


@pytest.mark.parametrize("before, after", [(1.0, 0.5), (0.0, 1.0), (1.5, 0.0)])
def test_a_dry_run_tells_the_canvas_of_a_recut(nodes, pocket, grid, before, after):
    planned = nodes["SpacetimeGrid"]().plan(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 9)["result"][0]
    asked = (0.0, 0.0, "chosen", before, after, 0.0, "cover")
    done, _ = build(nodes, "SpacetimeRecut", pocket.vae, grid, *asked, video=video_of(30)[0])
    plan = nodes["SpacetimeRecut"]().plan(pocket.vae, planned, *asked)
    assert plan["result"][0]["shape"] == list(done["samples"].shape)
    whole = nodes["SpacetimeRecut"]().plan(pocket.vae, planned, 0.0, 0.0, "same", *asked[3:])[0]
    assert whole["assumed"] and whole["shape"] == planned["shape"], "how long the video is, only the run knows"
    assert nodes["SpacetimeRecut"]().plan(pocket.vae, None, *asked) == (None,)


def test_a_recut_that_keeps_everything_is_one_clear_line(nodes, pocket, grid):
    for video, asked in ((video_of(9)[0], "same"), (video_of(1)[0], "same"), (video_of(9)[0], "chosen")):
        with pytest.raises(ValueError, match="nothing (is left to make anew|to extend by)"):
            build(nodes, "SpacetimeRecut", pocket.vae, grid, 0.0, 0.0, asked, 0.0, 0.0, 0.0, "cover", video=video)


# blend


def blended(nodes, pocket, grid, first, second, curve="linear", keypoints="", strength=0.7, keep=True):
    return build(nodes, "SpacetimeBlend", pocket.vae, grid, curve, keypoints, strength, keep, "cover", first, second)


def test_a_blend_begins_as_the_first_clip_and_ends_as_the_second(nodes, pocket, grid, watch, host):
    (first, a), (second, b) = video_of(17), video_of(17, seed=1)
    latent, told = blended(nodes, pocket, grid, first, second, "custom", "0:0, 0.5:0, 1.5:1")
    frames = watch(latent)
    assert latent["denoise"] == 0.7 and told == "17 frames, 2.12 s" and len(frames) == 17
    assert torch.equal(frames[:5], a[:5]) and torch.equal(frames[9:], b[9:])
    assert not any(torch.equal(frames[i], clip[i]) for clip in (a, b) for i in range(5, 9))


def test_without_keep_ends_the_whole_mix_is_sampled(nodes, pocket, grid, watch):
    (first, a), (second, b) = video_of(9), video_of(9, seed=1)
    latent, _ = blended(nodes, pocket, grid, first, second, strength=1.0, keep=False)
    assert not {"noise_mask", "timeline"} & set(latent)
    frames = watch(latent)
    assert not torch.equal(frames[0], a[0]) and not torch.equal(frames[-1], b[-1])


def test_what_counts_for_nothing_leaves_no_trace(nodes, pocket, grid):
    (first, a), (second, b) = video_of(9), video_of(9, seed=1)
    latent, _ = blended(nodes, pocket, grid, first, second, keep=False)
    for at, clip in ((0, a), (2, b)):
        alone = torch.cat(list(pocket.vae.encode_stream([clip])), 2)
        assert torch.equal(latent["samples"][:, :, at], alone[:, :, at])


def test_a_blend_is_as_long_as_the_shorter_clip_and_says_so(nodes, pocket, grid, host):
    (first, _), (second, _) = video_of(17), video_of(24, size=64, fps=16.0, seed=1)
    first.audio = second.audio = None
    latent, _ = blended(nodes, pocket, grid, first, second)
    assert latent["samples"].shape[2] == 3 and host.notices == [
        "the clip: 16 frames per second → 8",
        "the clip: 64×64 → 48×48 (cover)",
        "17 and 12 frames → 9: as long as the shorter (4k+1)",
    ]


def test_at_a_jump_from_clip_to_clip_the_model_has_room(nodes, pocket, grid):
    (first, _), (second, _) = video_of(25), video_of(25, seed=1)
    latent, _ = blended(nodes, pocket, grid, first, second, "step")
    assert latent["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 0, 1, 1, 0, 0, 0]
    assert [(span.first, span.last) for span in latent["timeline"]] == [(0, 5), (5, 13), (13, 25)]


def test_a_blend_that_leaves_nothing_or_cannot_be_is_one_clear_line(nodes, pocket, grid):
    (first, _), (second, _), (short, _) = video_of(9), video_of(9, seed=1), video_of(4)
    for asked, says in (
        ({"curve": "custom", "keypoints": "0:1"}, "no frame is left to make"),
        ({"strength": 1.5}, "strength 1.5 can't be"),
        ({"strength": math.nan}, "strength nan can't be"),
        ({"second": short}, "9 and 4 frames are too short to blend; at least 5"),
        ({"curve": "custom", "keypoints": "0:0, 2:1"}, "2 s lies behind the end of the blend, which is 1.125 s long"),
        ({"curve": "zigzag"}, "curve 'zigzag' can't be; one of linear, "),
    ):
        with pytest.raises(ValueError, match=says) as error:
            blended(nodes, pocket, grid, **{"first": first, "second": second, **asked})
        assert "\n" not in str(error.value)


def test_a_batch_of_the_grid_is_a_batch_of_blends(nodes, pocket, host):
    grid = nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 9, 2)["result"][0]
    video, _ = video_of(9)
    assert len(blended(nodes, pocket, grid, video, video)[0]["samples"]) == 2


@pytest.mark.parametrize("curve", curves.CURVES)
def test_every_curve_goes_from_the_first_clip_to_the_second(curve):
    drawn = curves.weights(curve, "", 9, 0.5, 4.1)
    assert drawn[0] == 0 and drawn[-1] == 1 and drawn == sorted(drawn)
    steep = [b - a for a, b in zip(drawn, drawn[1:], strict=False)]
    shapes = {
        "linear": steep == [0.125] * 8,
        "smooth": steep[0] == steep[-1] < steep[4],
        "ease in": steep == sorted(steep) and steep[0] < steep[1],
        "ease out": steep == sorted(steep, reverse=True) and steep[0] > steep[1],
        "step": steep.count(0) == 7,
    }
    assert shapes[curve]


def test_a_curve_of_ones_own_goes_straight_from_point_to_point():
    drawn = curves.weights("custom", " 0.5:0.2, 1:0.6,1:1 , 2.1:0", 5, 0.5, 2.125)
    assert drawn == pytest.approx([0.2, 0.2, 1, 0.5, 0])  # the last, behind the last latent frame, counts there
    assert curves.weights("custom", "0:0.25", 3, 0.5, 1) == [0.25] * 3


@pytest.mark.parametrize(
    "keypoints, says",
    [
        ("", "'' can't be read; write time:weight"),
        ("0:0,", "'' can't be read"),
        ("0:0, 1", "'1' can't be read"),
        ("0:0:0", "can't be read"),
        ("0;0", "can't be read"),
        ("x" * 1000, "'x{40}' can't be read"),
        ("nan:0", "'nan:0' can't be; seconds"),
        ("inf:0", "can't be; seconds"),
        ("0:nan", "can't be; seconds"),
        ("0:1.1", "a weight from 0 to 1"),
        ("-1:0", "seconds from 0 on"),
        ("1:0, 0.5:1", "'0.5:1' comes after 1 s; times only rise"),
    ],
)
def test_a_malformed_curve_is_one_clear_line_before_anything_is_loaded(nodes, keypoints, says):
    with pytest.raises(ValueError, match=says) as error:
        nodes["SpacetimeBlend"]().plan(None, None, "custom", keypoints, 0.7, True, "cover")
    assert "\n" not in str(error.value)


def test_choices_that_graphs_have_saved_stay(nodes):
    choices = {node: nodes[f"Spacetime{node}"].INPUT_TYPES()["required"] for node in ("Recut", "Blend")}
    assert choices["Recut"]["length"][0][:2] == ["same", "chosen"]
    assert choices["Blend"]["curve"][0] == ["linear", "smooth", "ease in", "ease out", "step", "custom"]


def test_a_curve_that_is_not_asked_for_is_not_read(nodes):
    assert nodes["SpacetimeBlend"]().plan(None, None, "smooth", "nonsense", 0.7, True, "cover") == (None,)
