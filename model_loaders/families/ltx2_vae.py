"""LTX-2's VAE (AutoencoderKLLTX2Video), LTX-Video's in shape and statistics; and the sound beside it, from its latents
by way of a spectrogram to what is heard."""

from . import ltx_vae
from .ltx_vae import decode_chunks, encode_chunks

__all__ = ["decode_chunks", "decode_sound", "encode_chunks", "facts"]


def facts(config: dict, folder):
    from dataclasses import replace

    return replace(ltx_vae.facts(config, folder), maps=3)


def decode_sound(audio_vae, vocoder, tokens) -> dict:
    """tokens [B, L, D], normalised → ComfyUI's audio: waveform [B, channels, samples] and sample_rate."""
    raw = tokens.to(audio_vae.device) * audio_vae.latents_std + audio_vae.latents_mean
    bins = audio_vae.config.mel_bins // audio_vae.mel_compression_ratio
    latents = raw.unflatten(2, (-1, bins)).transpose(1, 2)  # B C L bins
    spectrogram = audio_vae.decode(latents.to(audio_vae.dtype), return_dict=False)[0]
    waveform = vocoder(spectrogram.to(vocoder.dtype)).float().cpu()
    return {"waveform": waveform, "sample_rate": vocoder.config.output_sampling_rate}
