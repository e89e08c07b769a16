"""The sound of the user's clips is heard where the clips are seen."""

from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from clips import RATE
from spacetime_nodes.media import sound
from spacetime_nodes.media.read import open_video
from spacetime_nodes.media.sniff import MediaError
from spacetime_nodes.media.video import FileVideo

from .conftest import build, video_of

TICKS = 2  # samples of sound a frame


def silence(frames):
    return torch.zeros(1, 2, TICKS * frames)


def watched(nodes, pocket, latent, **options):
    """The video of a canvas, and its sound; nobody needs to sample for that."""
    ((video, *others),) = nodes["SpacetimeDecode"]().run(pocket.vae, latent, **options)
    heard = video.get_audio()
    assert all(torch.equal(other.get_audio()["waveform"], heard["waveform"]) for other in others)
    if heard is not None:
        assert heard["sample_rate"] == RATE and heard["waveform"].shape[2] == TICKS * video.get_frame_count()
    return video, heard and heard["waveform"]


@pytest.mark.parametrize(
    "direction, before, after", [("forward", 0, 8), ("backward", 9, 0), ("both", 9, 8)]
)  # backward, the first latent frame holds one frame more
def test_an_extended_clip_is_heard_between_silence(nodes, pocket, grid, direction, before, after):
    clip, _ = video_of(14)
    canvas, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, direction, 1.0, 0.0, "cover", clip)
    _, heard = watched(nodes, pocket, canvas)
    assert torch.equal(heard, torch.cat([silence(before), clip.audio["waveform"], silence(after)], 2))


def test_both_connected_clips_are_heard(nodes, pocket, grid):
    (left, _), (right, _) = video_of(9), video_of(6)
    canvas, _ = build(nodes, "SpacetimeConnect", pocket.vae, grid, 1.0, 0.0, "cover", left, right)
    _, heard = watched(nodes, pocket, canvas)
    assert torch.equal(heard, torch.cat([left.audio["waveform"], silence(8), right.audio["waveform"]], 2))


def test_a_part_of_a_clip_brings_its_part_of_the_sound(nodes, pocket, grid):
    clip, _ = video_of(17)
    canvas, _ = build(nodes, "SpacetimeRecut", pocket.vae, grid, 0.625, 1.625, "same", 1.0, 1.0, 0.0, "cover", clip)
    _, heard = watched(nodes, pocket, canvas)
    kept = clip.audio["waveform"][..., 5 * TICKS : 13 * TICKS]
    assert torch.equal(heard, torch.cat([silence(5), kept, silence(4)], 2))


def test_a_closed_loop_is_heard_as_far_as_it_is_the_clip(nodes, pocket, grid):
    clip, _ = video_of(9)
    canvas, _ = build(nodes, "SpacetimeLoop", pocket.vae, grid, 1.0, 0.0, "cover", clip)
    _, heard = watched(nodes, pocket, canvas)
    assert torch.equal(heard, torch.cat([clip.audio["waveform"], silence(8)], 2))


def test_a_restyled_clip_sounds_as_before(nodes, pocket, grid):
    clip, _ = video_of(11)
    canvas, _ = build(nodes, "SpacetimeRestyle", pocket.vae, grid, 0.5, "cover", clip)
    video, heard = watched(nodes, pocket, canvas)
    assert video.get_frame_count() == 9 and torch.equal(heard, clip.audio["waveform"][..., : 9 * TICKS])
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, canvas, 0.0, 0.625)
    assert torch.equal(watched(nodes, pocket, cut)[1], heard[..., : 5 * TICKS])
    grown, _ = build(nodes, "SpacetimeExtend", pocket.vae, canvas, "forward", 1.0, 0.0, "cover", clip=canvas)
    assert torch.equal(watched(nodes, pocket, grown)[1], torch.cat([heard, silence(8)], 2))


def test_a_clip_painted_in_and_around_sounds_as_before(nodes, pocket, grid):
    clip, _ = video_of(9)
    box, sides = (0.25, 0.25, 0.5, 0.5, 0.0, 0.0, 2), (16, 0, 0, 0)
    for more in ((0, 0, 0, 0), sides):
        canvas, _ = build(nodes, "SpacetimeMaskRegion", pocket.vae, grid, *box, *more, "cover", video=clip)
        assert torch.equal(watched(nodes, pocket, canvas)[1], clip.audio["waveform"])


def test_a_clip_at_another_rate_and_size_keeps_its_sound(nodes, pocket, grid):
    clip, _ = video_of(18, size=64, fps=16.0)
    clip.audio = {"waveform": torch.arange(18.0).expand(1, 2, -1), "sample_rate": RATE}
    canvas, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", clip)
    video, heard = watched(nodes, pocket, canvas)
    assert video.get_frame_count() == 17 and torch.equal(heard[..., :18], clip.audio["waveform"])


def test_a_frame_rate_of_1001ths_is_the_same_speed(nodes, pocket, grid):
    clip, _ = video_of(9)
    canvas, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", clip)
    ((video,),) = nodes["SpacetimeDecode"]().run(pocket.vae, {**canvas, "fps": 24000 / 1001}, 23.976)
    assert video.get_audio() is not None


def test_without_any_sound_there_is_none(nodes, pocket, grid):
    clip, _ = video_of(9)
    clip.audio = None
    for name, *settings in (("Extend", "forward", 1.0, 0.0), ("Restyle", 0.5)):
        canvas, _ = build(nodes, f"Spacetime{name}", pocket.vae, grid, *settings, "cover", clip)
        assert watched(nodes, pocket, canvas)[1] is None
    assert watched(nodes, pocket, grid)[1] is None


def test_at_another_speed_the_sound_is_left_out_which_is_said(nodes, pocket, grid, host):
    clip, _ = video_of(9)
    canvas, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", clip)
    assert watched(nodes, pocket, canvas, fps=12.0)[1] is None
    assert host.notices == ["at 12 frames per second instead of 8 the sound is left out"]


def test_a_damaged_sound_costs_no_sampling(nodes, pocket, grid, host):
    clip, _ = video_of(9)

    def damaged():
        raise MediaError("the sound of a.mp4 is damaged (Invalid data)")

    clip.audio = damaged
    canvas, _ = build(nodes, "SpacetimeExtend", pocket.vae, grid, "forward", 1.0, 0.0, "cover", clip)
    assert watched(nodes, pocket, canvas)[1] is None
    assert host.notices == ["the sound is left out: the sound of a.mp4 is damaged (Invalid data)"]


def test_a_picture_placed_on_a_restyled_clip_leaves_it_its_sound(nodes, pocket, grid):
    clip, _ = video_of(9)
    canvas, _ = build(nodes, "SpacetimeRestyle", pocket.vae, grid, 0.5, "cover", clip)
    picture = torch.rand(1, 48, 48, 3)
    placed, _ = build(nodes, "SpacetimePlaceFrames", pocket.vae, canvas, "start", "cover", 1.0, images=picture)
    assert torch.equal(watched(nodes, pocket, placed)[1], clip.audio["waveform"])


def test_a_latent_that_another_node_has_cut_is_silent_and_says_so(nodes, pocket, grid, host):
    clip, _ = video_of(17)
    canvas, _ = build(nodes, "SpacetimeRestyle", pocket.vae, grid, 0.5, "cover", clip)
    assert watched(nodes, pocket, {**canvas, "samples": canvas["samples"][:, :, 2:4]})[1] is None
    assert host.notices == ["the clip's sound is left out: another node has cut the latent since"]


def test_a_batch_keeps_the_sound_it_is_cut_with(nodes, pocket, host):
    grid = nodes["SpacetimeGrid"]().run(pocket.dit, pocket.vae, "1:1", 48, 0, 0, 0.0, 8.0, 9, 2)["result"][0]
    clip, _ = video_of(17)
    canvas, _ = build(nodes, "SpacetimeRestyle", pocket.vae, grid, 0.5, "cover", clip)
    cut, _ = build(nodes, "SpacetimeTrimLatent", pocket.vae, canvas, 1.0, 0.0)
    assert len(cut["samples"]) == 2
    assert torch.equal(watched(nodes, pocket, cut)[1], clip.audio["waveform"][..., 8 * TICKS :])


def test_what_a_saved_latent_does_not_keep_is_said(nodes, pocket, grid, host):
    clip, _ = video_of(9)
    canvas, _ = build(nodes, "SpacetimeRestyle", pocket.vae, grid, 0.5, "cover", clip)
    nodes["SpacetimeSaveLatent"]().run(canvas, "latents/x")
    assert host.notices == ["a .latent file keeps the cells, not the clip's sound; save the video to keep that"]


def tone(rate, hertz, seconds=1.0, channels=1):
    wave = torch.sin(torch.arange(round(rate * seconds)) / rate * hertz * 2 * torch.pi)
    return {"waveform": wave.expand(1, channels, -1), "sample_rate": rate}


def pitch(waveform, rate):
    return torch.fft.rfft(waveform).abs().argmax().item() * rate / len(waveform)


def test_sounds_of_different_rates_and_channels_keep_their_pitch():
    film = sound.joined([tone(48000, 300, channels=2), None, tone(44100, 700)], [1, 0.5, 1])
    wave = film["waveform"]
    assert film["sample_rate"] == 48000 and wave.shape == (1, 2, 120_000)
    assert not wave[..., 48_000:72_000].any() and torch.equal(wave[:, 0, 72_000:], wave[:, 1, 72_000:])
    assert abs(pitch(wave[0, 0, :48_000], 48_000) - 300) < 2 and abs(pitch(wave[0, 0, 72_000:], 48_000) - 700) < 2
    assert wave[0, 0, 80_000:110_000].abs().max() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("samples", [0, 1, 15])
def test_a_moment_of_another_rate_is_no_trouble(samples):
    moment = {"waveform": torch.ones(1, 1, samples, dtype=torch.float64, requires_grad=True), "sample_rate": 44100}
    film = sound.joined([tone(48000, 300), moment], [1, 1])
    assert film["waveform"].shape == (1, 1, 96_000) and film["waveform"][..., :48_000].abs().max() > 0.9


def test_the_best_of_the_sample_rates_is_kept_and_two_channels():
    film = sound.joined([tone(8000, 300), tone(48000, 9000, channels=6)], [1, 1])
    assert film["sample_rate"] == 48000 and film["waveform"].shape == (1, 2, 96_000)
    assert abs(pitch(film["waveform"][0, 0, 48_000:], 48_000) - 9000) < 2


def test_odd_thirds_of_seconds_add_up_to_the_length_of_the_film():
    film = sound.joined([tone(44100, 300)] * 30, [1 / 30] * 30)
    assert film["waveform"].shape[2] == 44100


def test_the_sound_of_a_file_is_in_the_file_that_goes_on_from_it(nodes, pocket, grid, tmp_path):
    clip, _ = video_of(9, size=64)
    clip.audio = tone(48000, 440, 9 / 8)
    clip.save_to(tmp_path / "clip.mp4")
    canvas, _ = build(
        nodes, "SpacetimeExtend", pocket.vae, grid, "backward", 1.0, 0.0, "cover", FileVideo(tmp_path / "clip.mp4")
    )
    ((video,),) = nodes["SpacetimeDecode"]().run(pocket.vae, canvas)
    video.save_to(tmp_path / "longer.mp4")
    heard = open_video(tmp_path / "longer.mp4").reader.audio()["waveform"][0, 0]
    new = round(48000 * 9 / 8)
    assert heard[: new - 4000].abs().max() < 0.01 and heard[new + 4000 : 2 * new - 4000].abs().max() > 0.8


def film_with_clicks(path, begins, pauses=0.0, seconds=4):
    """A film whose sound begins at second `begins`, clicks each whole second of the film, and leaves out `pauses`
    seconds from second 2.5 on."""
    rate = 8000
    wave = torch.zeros(seconds * rate)
    for second in range(seconds):
        wave[second * rate : second * rate + 80] = 0.8
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=8)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        track = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for at in range(0, len(wave), 1000):  # an eighth of a second: a frame
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = at // 1000, Fraction(1, 8)
            container.mux(picture.encode(frame))
            if begins * rate <= at and not 2.5 * rate <= at < (2.5 + pauses) * rate:
                sound = av.AudioFrame.from_ndarray(
                    (wave[at : at + 1000, None].T * 32767).short().numpy(), "s16", "mono"
                )
                sound.sample_rate, sound.pts, sound.time_base = rate, at, Fraction(1, rate)
                container.mux(track.encode(sound))
        for stream in (picture, track):
            container.mux(stream.encode(None))
    return FileVideo(path)


@pytest.mark.parametrize("begins, pauses", [(0, 0.0), (1, 0.0), (0, 1.0), (2, 0.5)])
def test_sound_that_begins_late_or_pauses_is_heard_when_it_was(tmp_path, begins, pauses):
    film = film_with_clicks(tmp_path / "film.mkv", begins, pauses)
    wave, rate = film.get_audio()["waveform"][0, 0], 8000
    clicks = [second for second in range(4) if wave[second * rate : second * rate + 80].min() > 0.5]
    assert clicks == [second for second in range(4) if second >= begins and not 2.5 <= second < 2.5 + pauses]
    assert wave.abs().gt(0.5).sum() == 80 * len(clicks) and len(wave) == 4 * rate
    early = film.as_trimmed(0.0, 1.0).get_audio()["waveform"]
    assert early.abs().max() > 0.5 if begins == 0 else not early.any()


@pytest.mark.parametrize("suffix", ["mp4", "webm"])
def test_a_part_after_the_end_of_the_sound_is_silent(nodes, pocket, grid, tmp_path, suffix):
    clip, _ = video_of(16, size=64)
    clip.audio = tone(48000, 440, 0.5)
    part = clip.as_trimmed(1.0)
    assert part.get_audio() is None
    part.save_to(tmp_path / f"part.{suffix}")
    part.audio = {"waveform": torch.zeros(1, 2, 0), "sample_rate": 48000}  # as another pack may cut it
    part.save_to(tmp_path / f"empty.{suffix}")
    assert not any(open_video(tmp_path / f"{name}.{suffix}").facts.has_audio for name in ("part", "empty"))
    canvas, _ = build(nodes, "SpacetimeRestyle", pocket.vae, grid, 0.5, "cover", part)
    assert watched(nodes, pocket, canvas)[0].get_audio() is None
