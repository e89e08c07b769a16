"""Decoding as a stream: the same frames as the whole decode, in memory that doesn't grow with the video."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch
from spacetime_nodes.nodes.runtime import Interrupted


def latent_of(pocket, latent_frames, rows=6, columns=8, batch=1):
    return torch.randn(batch, 16, latent_frames, rows, columns, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("latent_frames", [1, 2, 7])
def test_the_stream_equals_the_whole_decode_bit_for_bit(pocket, latent_frames):
    latent = latent_of(pocket, latent_frames)
    with torch.no_grad():
        whole = (pocket.vae.module.decode(latent).sample * 0.5 + 0.5).clamp(0, 1)
    chunks = list(pocket.vae.decode_stream(latent))
    assert [len(chunk) for chunk in chunks] == [1] + [4] * (latent_frames - 1)
    assert torch.equal(torch.cat(chunks), whole[0].permute(1, 2, 3, 0))


def test_wan_22s_residual_vae_streams_the_same_frames_too():
    from diffusers import AutoencoderKLWan
    from spacetime_nodes.model_loaders.families.wan_vae import decode_chunks

    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=8, decoder_base_dim=8, z_dim=8, dim_mult=[1, 2, 4, 4], num_res_blocks=1, is_residual=True,
        temperal_downsample=[False, True, True], in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16,
        latents_mean=[0.0] * 8, latents_std=[1.0] * 8,
    ).eval()  # fmt: skip
    latent = torch.randn(1, 8, 4, 3, 5)
    with torch.no_grad():
        assert torch.equal(torch.cat(list(decode_chunks(vae, latent)), 2), vae.decode(latent).sample)


def test_two_streams_of_one_vae_do_not_disturb_each_other(pocket):
    latent = latent_of(pocket, 4)
    alone = list(pocket.vae.decode_stream(latent))
    left, right = pocket.vae.decode_stream(latent), pocket.vae.decode_stream(latent.flip(2))
    interleaved = [(next(left), next(right))[0] for _ in range(4)]
    assert torch.equal(torch.cat(interleaved), torch.cat(alone))


def test_a_stream_leaves_the_callers_grad_mode_alone(pocket):
    stream = pocket.vae.decode_stream(latent_of(pocket, 2))
    chunk = next(stream)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    chunk += 1  # frames are ordinary tensors, for nodes that work in place


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ten_times_the_frames_take_less_than_a_tenth_more_memory():
    """Peak memory of a process above what it had before decoding, after 5 and then after 50 latent frames."""
    code = """
        import torch
        from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS as nodes

        def memory(line):  # not getrusage, whose peak a child inherits from its parent
            return int(open("/proc/self/status").read().split(line)[1].split()[0])  # kB

        torch.set_num_threads(1)
        (vae,) = nodes["SpacetimeLoadVAE"]().run("pocket (built in)")
        vae.module
        before = memory("VmRSS:")
        for latent_frames in (5, 50):
            latent = {"samples": torch.zeros(1, 16, latent_frames, 12, 12), "fps": 8}
            (videos,) = nodes["SpacetimeDecode"]().run(vae, latent)
            assert sum(len(chunk) for chunk in videos[0].frames()) == 4 * latent_frames - 3
            print(memory("VmHWM:") - before)
    """
    # every larger block straight from the system: counts what is held, not how malloc arranges it
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    short, long = map(int, run.stdout.split())
    assert long < 1.1 * short


def test_decode_gives_one_lazy_video_for_each_of_a_batch(nodes, pocket):
    latent = {"samples": latent_of(pocket, 3, batch=2), "fps": 12.0}
    (videos,) = nodes["SpacetimeDecode"]().run(pocket.vae, latent)
    assert [video.get_dimensions() for video in videos] == [(64, 48)] * 2
    assert [video.get_frame_count() for video in videos] == [9, 9]
    assert float(videos[0].get_frame_rate()) == 12
    (images,) = nodes["SpacetimeDecodeImages"]().run(pocket.vae, latent)
    assert torch.equal(torch.cat([video.get_components().images for video in videos]), images)


def test_decoding_stops_when_the_user_cancels(nodes, pocket, host):
    (videos,) = nodes["SpacetimeDecode"]().run(pocket.vae, {"samples": latent_of(pocket, 5)})
    stream = videos[0].frames()
    next(stream)
    host.is_interrupted = lambda: True
    with pytest.raises(Interrupted):
        next(stream)


def test_a_latent_is_saved_before_anything_is_decoded(nodes, pocket, host):
    latent = {"samples": latent_of(pocket, 3), "fps": 12.0, "noise_mask": torch.ones(1, 1, 3, 6, 8)}
    nodes["SpacetimeDecode"]().run(pocket.vae, latent, save_latent=True)  # no frame was asked for
    (name,) = nodes["SpacetimeLoadLatent"].INPUT_TYPES()["required"]["latent"][0]
    assert name == "latents/spacetime_00001_.latent [output]"
    (back,) = nodes["SpacetimeLoadLatent"]().run(name)
    assert torch.equal(back["samples"], latent["samples"]) and back["fps"] == 12.0
    assert torch.equal(back["noise_mask"], latent["noise_mask"])


def test_saved_latents_are_ComfyUIs_format_and_readable_by_all(nodes, pocket, host):
    from safetensors.torch import load_file

    latent = {"samples": latent_of(pocket, 1), "fps": 8.0}
    shown = nodes["SpacetimeSaveLatent"]().run(latent, "keep/this")["ui"]["latents"][0]
    assert shown == {"filename": "this_00001_.latent", "subfolder": "keep", "type": "output"}
    path = host.base / "output" / "keep" / "this_00001_.latent"
    assert set(load_file(path)) == {"latent_tensor", "latent_format_version_0"}
    assert path.stat().st_mode & 0o044  # safetensors' own writer makes files for their owner only
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing temporary stays


def test_a_latent_that_cannot_be_written_leaves_nothing_behind(nodes, pocket, host, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        nodes["SpacetimeSaveLatent"]().run({"samples": latent_of(pocket, 1)}, "full/disk")
    assert list((host.base / "output" / "full").iterdir()) == []


@pytest.mark.parametrize("prefix", ["../up", "/etc/up", "a\r\nb", ""])
def test_latents_stay_inside_the_output_folder(nodes, pocket, host, prefix):
    with pytest.raises(ValueError, match="filename_prefix"):
        nodes["SpacetimeSaveLatent"]().run({"samples": latent_of(pocket, 1)}, prefix)


def test_a_foreign_latent_is_refused_in_one_line(nodes, pocket):
    with pytest.raises(ValueError, match="4 channels, the VAE 16"):
        nodes["SpacetimeDecode"]().run(pocket.vae, {"samples": torch.zeros(1, 4, 3, 8, 8)})
    with pytest.raises(TypeError, match="LATENT"):
        nodes["SpacetimeDecode"]().run(pocket.vae, None)


def test_an_image_latent_is_a_video_of_one_frame(nodes, pocket):
    (images,) = nodes["SpacetimeDecodeImages"]().run(pocket.vae, {"samples": torch.zeros(1, 16, 6, 8)})
    assert images.shape == (1, 48, 64, 3)
