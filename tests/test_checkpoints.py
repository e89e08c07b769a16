"""A model file that is damaged, foreign or hostile is named for what it is, in one line, before anything is loaded."""

import json
import struct

import pytest
import torch
from command import one_line
from headers import gguf, gguf_text, write_header
from safetensors.torch import save_file
from spacetime_nodes.model_loaders import fingerprints
from spacetime_nodes.model_loaders.checkpoint import CheckpointError, read_header, weight_files
from spacetime_nodes.model_loaders.folders import POCKET_FOLDER
from spacetime_nodes.model_loaders.identify import identify, identify_file
from spacetime_nodes.model_loaders.single_file import locate


def safetensors(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(begin, end, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


DOUBLE = b'{"a": %s, "a": %s}' % ((json.dumps(entry(0, 4)).encode(),) * 2)
HOSTILE = {
    "empty": (b"", "empty"),
    "three bytes": (b"abc", "isn't a safetensors file"),
    "random bytes": (bytes(range(7, 207)), "isn't a safetensors file"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\nsize 5\n", "LFS pointer.*git lfs pull"),
    "web page": (b"\n<!DOCTYPE html><html><body>Please log in</body></html>", "web page"),
    "pickle": (b"\x80\x02}q\x00." + bytes(40), "pickle.*never loaded"),
    "zipped pickle": (b"PK\x03\x04" + bytes(40), "pickle.*never loaded"),
    "GGUF": (b"GGUF\x03\x00\x00\x00" + bytes(40), "GGUF"),
    "archive": (b"\x1f\x8b\x08" + bytes(40), "archive"),
    "JSON": (b'{"weight_map": {}}' + bytes(40), "JSON text"),
    "header of 0": (struct.pack("<Q", 0) + bytes(40), "header would be 0"),
    "header of 2^63": (struct.pack("<Q", 2**63) + b"{" + bytes(40), "header would be"),
    "header of 200 MB": (struct.pack("<Q", 200_000_000) + b"{" + bytes(40), "header would be"),
    "cut in the header": (safetensors({"a": entry(0, 4)}, bytes(4))[:30], "truncated"),
    "cut in the weights": (safetensors({"a": entry(0, 400, (100,))}, bytes(399)), "truncated: 399 of 400"),
    "bytes too many": (safetensors({"a": entry(0, 4)}, bytes(9)), "5 bytes follow"),
    "header no JSON": (safetensors(b"{'a': 1}" + b" " * 20), "header is no JSON"),
    "header a list": (safetensors(b"[" + b" " * 20 + b"]"), "header"),
    "header nested deeply": (safetensors(b'{"a":' + b"[" * 200_000), "header is no JSON"),
    "no tensors": (safetensors({"__metadata__": {"format": "pt"}}), "no tensors"),
    "overlap": (safetensors({"a": entry(0, 4), "b": entry(2, 6)}, bytes(6)), "overlap at byte 2"),
    "hole": (safetensors({"a": entry(0, 4), "b": entry(8, 12)}, bytes(12)), "hole at byte 8"),
    "missing range": (safetensors({"a": {"dtype": "F32", "shape": [1]}}, bytes(4)), "isn't dtype, shape"),
    "negative range": (safetensors({"a": entry(-4, 0)}, bytes(4)), "isn't dtype, shape"),
    "unknown dtype": (safetensors({"a": entry(0, 4, dtype="F31")}, bytes(4)), "unknown dtype 'F31'"),
    "duplicate keys": (safetensors(DOUBLE, bytes(4)), "'a' twice"),
    "shape that lies": (safetensors({"a": entry(0, 4, (2**40, 2**40))}, bytes(4)), "claims 4 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_named_for_what_it_is(nodes, host, kind):
    """As a user meets it: the file lies in models/diffusion_models and is chosen in the loader."""
    data, words = HOSTILE[kind]
    folder = host.base / "models" / "diffusion_models"
    folder.mkdir(parents=True)
    (folder / "bad.safetensors").write_bytes(data)
    assert "bad.safetensors" in nodes["SpacetimeLoadDiT"].INPUT_TYPES()["required"]["model_name"][0]
    with pytest.raises(CheckpointError, match=words) as error:
        nodes["SpacetimeLoadDiT"]().run("bad.safetensors")
    one_line(error, "bad.safetensors")


def test_every_header_that_safetensors_itself_writes_is_read(tmp_path):
    dtypes = [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.float8_e4m3fn]
    tensors = {f"t{i}": torch.zeros(i, 3).to(dtype) for i, dtype in enumerate(dtypes)}
    save_file(tensors, tmp_path / "a.safetensors", {"note": "x"})
    header = read_header(tmp_path / "a.safetensors")
    assert {key: info.shape for key, info in header.items()} == {key: tuple(t.shape) for key, t in tensors.items()}


def test_a_folder_named_like_a_file(nodes, host):
    (host.base / "models" / "vae" / "x.safetensors").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="x.safetensors is a folder without config.json"):
        nodes["SpacetimeLoadVAE"]().run("x.safetensors")


NOT_RUN = "; the help of Load DiT lists what it does, e.g. wan2.1_t2v_1.3B_fp16.safetensors"
NEEDED = "; the DiT loader needs a transformer, e.g. wan2.1_t2v_1.3B_fp16.safetensors"
AN_IMAGE, A_VIDEO = (
    f", an image model, which this version doesn't run{NOT_RUN}",
    f", which this version doesn't run{NOT_RUN}",
)
A_FOLDER = "; single files of that kind can't be built here, only its diffusers folder can"
WAN_KEYS = {"head.modulation": (2,), "blocks.0.self_attn.norm_q.weight": (2,)}
HUNYUAN_KEYS = {"txt_in.individual_token_refiner.blocks.0.norm1.weight": (2,), "vector_in.in_layer.weight": (2, 2)}
# what the line says after the file's name → some of its tensors, their lengths where they matter
FOREIGN = {
    f"a Flux transformer{AN_IMAGE}": {"double_blocks.0.img_attn.norm.key_norm.scale": (2,)},
    f"a Stable Diffusion 3 transformer{AN_IMAGE}": {"joint_blocks.0.context_block.adaLN_modulation.1.bias": (2,)},
    f"a Cosmos 2 T2I 2B transformer{AN_IMAGE}": {
        "x_embedder.proj.1.weight": (2048, 68), "blocks.0.self_attn.q_proj.weight": (2,),
        "t_embedding_norm.weight": (2,),
    },
    f"a Wan 2.2 S2V 14B transformer{A_VIDEO}": {
        **WAN_KEYS, "patch_embedding.weight": (5120, 16, 1, 2, 2),
        "casual_audio_encoder.encoder.final_linear.weight": (2,),
    },
    f"a Wan Fun control transformer{A_VIDEO}": {
        **WAN_KEYS, "patch_embedding.weight": (5120, 52, 1, 2, 2), "ref_conv.weight": (2, 2),
    },
    f"a HunyuanVideo SkyReels-V1 I2V transformer{A_VIDEO}": {**HUNYUAN_KEYS, "img_in.proj.weight": (2, 32, 1, 2, 2)},
    f"an EasyAnimate 5.1 Control transformer{A_FOLDER}": {
        "proj.weight": (2, 48, 2, 2), "time_embedding.linear_1.weight": (2,), "norm_final.weight": (2,),
        "proj_out.weight": (2,), "transformer_blocks.0.norm1.linear.weight": (2,),
    },
    f"a Mochi transformer{A_FOLDER}": {"t5_y_embedder.to_q.weight": (2,), "blocks.0.attn.qkv_x.weight": (2,)},
    f"a CogVideoX 2B T2V transformer{A_FOLDER}": {
        "patch_embed.text_proj.weight": (2,), "norm_final.weight": (2,), "patch_embed.proj.weight": (1920, 16, 2, 2),
        "transformer_blocks.0.norm1.linear.weight": (2,),
    },
    f"a Cosmos 2.5 Transfer 2B transformer{A_FOLDER}": {
        "patch_embed.proj.weight": (2048, 72), "time_embed.t_embedder.linear_1.weight": (2,),
        "img_context_proj.0.weight": (2,),
    },
    f"a Cosmos 2.5 Transfer ControlNet{NEEDED}": {
        "patch_embed_base.proj.weight": (2,), "control_blocks.0.after_proj.weight": (2,),
    },
    f"a Stable Diffusion UNet{NEEDED}": {"model.diffusion_model.input_blocks.0.0.weight": (2,)},
    f"a Wan LoRA{NEEDED} (this one goes into Load LoRA)": {"transformer.blocks.0.attn1.to_q.lora_A.weight": (2,)},
    f"a T5 text encoder, of unusual size{NEEDED} (this one goes into Load Text Encoder)": {
        "encoder.block.0.layer.0.SelfAttention.q.weight": (2,),
    },
    f"a Wan VAE{NEEDED} (this one goes into Load VAE)": {
        "decoder.middle.0.residual.0.gamma": (2,), "conv2.weight": (2,),
    },
}  # fmt: skip


@pytest.mark.parametrize("what", FOREIGN)
def test_a_single_file_of_another_model_is_recognised(nodes, host, what):
    folder = host.base / "models" / "diffusion_models"
    folder.mkdir(parents=True)
    write_header(folder / "model.safetensors", FOREIGN[what])
    with pytest.raises(CheckpointError) as error:
        nodes["SpacetimeLoadDiT"]().run("model.safetensors")
    assert str(error.value) == f"model.safetensors is {what}"
    one_line(error)


NVFP4 = [("head.head.weight", "U8", (64, 768)), ("head.head.weight_scale", "F8_E4M3", (64, 96)),
         ("head.head.weight_scale_2", "F32", ())]  # fmt: skip
MXFP8 = [("head.head.weight", "F8_E4M3", (64, 1536)), ("head.head.weight_scale", "U8", (128, 48))]
INT8 = [("head.head.weight", "I8", (64, 1536)), ("head.head.weight_scale", "F32", (64, 1))]
ROWS = [("head.head.weight", "F8_E4M3", (64, 1536)), ("head.head.weight_scale", "F32", (64, 1))]


@pytest.mark.parametrize(("kind", "more"), [("nvfp4", NVFP4), ("mxfp8", MXFP8), ("int8", INT8)])
def test_what_only_comfyui_reads_is_named_before_anything_is_loaded(tmp_path, kind, more):
    """As its quant_ops stores them: U8 with two numbers in a byte, or a factor for every few numbers."""
    most = {**WAN_KEYS, "patch_embedding.weight": (1536, 16, 1, 2, 2)}
    path = write_header(tmp_path / "wan2.1.safetensors", most, "BF16", more)
    with pytest.raises(CheckpointError) as error:
        locate(path, fingerprints.DIT)
    assert str(error.value) == (
        f"wan2.1.safetensors is a Wan 2.1 T2V 1.3B transformer, quantised by ComfyUI to {kind}, which only it reads; "
        "its bf16, fp16, fp8 or fp8-scaled file would be right"
    )
    (part,) = identify_file(path)
    assert part.parameters == 2 + 2 + 1536 * 16 * 4 + 64 * 1536
    path = write_header(tmp_path / "rows.safetensors", most, "F8_E4M3", ROWS)
    assert locate(path, fingerprints.DIT).identity.dtype == "fp8 e4m3 scaled"
    mixed = write_header(tmp_path / "mixed.safetensors", most, "F32", [*ROWS, ("head.head.comfy_quant", "U8", (27,))])
    assert locate(mixed, fingerprints.DIT).identity.dtype == "float32"


def test_a_wrong_file_is_sent_to_the_right_loader(nodes, host):
    for kind, name in (("diffusion_models", "vae"), ("vae", "dit"), ("text_encoders", "vae")):
        (host.base / "models" / kind).mkdir(parents=True, exist_ok=True)
        tensors = {"decoder.middle.0.residual.0.gamma": (96,), "conv2.weight": (16, 16, 1, 1, 1)}
        if name == "dit":
            tensors = {
                "patchify_proj.weight": (2048, 128),
                "adaln_single.emb.timestep_embedder.linear_1.weight": (2048,),
            }
        write_header(host.base / "models" / kind / f"{name}.safetensors", tensors)
    with pytest.raises(CheckpointError) as error:
        nodes["SpacetimeLoadDiT"]().run("vae.safetensors")
    one_line(
        error, "vae.safetensors is a Wan 2.1 VAE; the DiT loader needs a transformer, e.g. wan2.1", "into Load VAE"
    )
    with pytest.raises(CheckpointError) as error:
        nodes["SpacetimeLoadVAE"]().run("dit.safetensors")
    one_line(error, "dit.safetensors is an LTX transformer", "the VAE loader needs a VAE, e.g. wan_2.1", "Load DiT")
    with pytest.raises(CheckpointError) as error:
        nodes["SpacetimeLoadTextEncoder"]().run("vae.safetensors")
    one_line(error, "is a Wan 2.1 VAE; the Text Encoder loader needs a text encoder, e.g. umt5_xxl", "Load VAE")


def broken():
    """name → bytes of a file that is no usable transformer."""
    whole = safetensors({"a": entry(0, 400, (100,)), "b": entry(400, 404)}, bytes(404))
    files = {f"{kind}.safetensors": data for kind, (data, _) in HOSTILE.items()}
    files |= {f"cut at {at}.safetensors": whole[:at] for at in range(0, len(whole), 16)}
    for at in (0, 3, 7, 8, 12, 20, 33, 50):  # one byte turned over
        files[f"byte {at} wrong.safetensors"] = whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
    good, _ = gguf({"head.modulation": (2, 256), "patch_embedding.weight": (256, 16)})
    files |= {f"cut at {at}.gguf": good[:at] for at in range(0, len(good), max(1, len(good) // 20))}
    files["no gguf.gguf"] = whole
    files["version 9.gguf"] = gguf({"a": (256,)}, version=9)[0]
    files["kind 99.gguf"] = gguf({"a": (256,)}, kind=99)[0]
    files["endless list.gguf"] = gguf({"a": (256,)}, gguf_text("k") + struct.pack("<IIQ", 9, 8, 2**60), 1)[0]
    files["deep list.gguf"] = gguf({"a": (256,)}, gguf_text("k") + struct.pack("<IIQ", 9, 9, 1) * 40, 1)[0]
    files["strange value.gguf"] = gguf({"a": (256,)}, gguf_text("k") + struct.pack("<I", 77), 1)[0]
    files["a billion tensors.gguf"] = b"GGUF" + struct.pack("<IQQ", 3, 10**9, 0) + bytes(64)
    files["no tensors.gguf"] = gguf({})[0] + bytes(64)
    files["whole, but quantised.gguf"] = good
    for dtype in ("F33", "", None, 7, "f32"):
        files[f"dtype {dtype}.safetensors"] = safetensors({"a": entry(0, 4, dtype=dtype)}, bytes(4))
    for i, shape in enumerate(([-1], [1.5], ["1"], [True], {}, "11", [2**70], [[1]])):
        files[f"shape {i}.safetensors"] = safetensors(
            {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}, bytes(4)
        )
    for i, offsets in enumerate(([0], [4, 0], [0, 4, 8], "04", None, [0, 2**64], [0.0, 4.0])):
        files[f"offsets {i}.safetensors"] = safetensors(
            {"a": {"dtype": "F32", "shape": [1], "data_offsets": offsets}}, bytes(4)
        )
    return files


def test_a_hundred_broken_checkpoints_each_give_one_clear_line(tmp_path):
    files = broken()
    assert len(files) >= 100
    for name, data in files.items():
        path = tmp_path / name.replace("^", "")
        path.write_bytes(data)
        for component in (fingerprints.DIT, fingerprints.VAE, fingerprints.TEXT):
            with pytest.raises(CheckpointError) as error:
                locate(path, component)
            one_line(error, path.name)


def test_pockets_own_files_are_recognised():
    kinds = {
        "transformer": "a Wan pocket transformer",
        "vae": "a Wan pocket VAE",
        "text_encoder": "a UMT5 pocket text encoder",
    }
    for part, what in kinds.items():
        headers = [read_header(file) for file in weight_files(POCKET_FOLDER / part)]
        assert str(identify({key: info for header in headers for key, info in header.items()})) == what


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path, length):
    path, pad = tmp_path / "w.safetensors", 0
    while True:
        save_file({"w": torch.zeros(2)}, path, {"note": "x" * pad})
        if int.from_bytes(path.read_bytes()[:8], "little") == length:
            break
        pad += 1
        assert pad < 2000
    assert list(read_header(path)) == ["w"]


def test_a_dtype_that_is_a_list_is_one_clear_line(tmp_path):
    header = json.dumps({"w": {"dtype": [], "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(CheckpointError, match="isn't dtype, shape and data_offsets"):
        read_header(tmp_path / "w.safetensors")
