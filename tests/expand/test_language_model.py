"""A language model on this machine: it writes, and says what is wrong with its folder."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from spacetime_nodes.nodes import runtime

from .conftest import folder_of

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "[{{ m.content }}]{% endfor %}{% if add_generation_prompt %} answer{% endif %}"
)


def test_a_local_model_writes_and_leaves_everybody_elses_noise_alone(nodes, expand, host, language_model):
    assert nodes["SpacetimeExpandPrompt"].INPUT_TYPES()["required"]["language_model_name"][0] == ["none", "tiny"]
    before = torch.get_rng_state()
    texts = [expand("red ball", "local model", language_model, seed=seed) for seed in (1, 1, 2, 2**64 - 1)]
    assert texts[0] == texts[1] and len(set(texts)) == 3 and "<eos>" not in texts[0] and "Caption" not in texts[0][:7]
    assert torch.equal(before, torch.get_rng_state()) and host.notices == []


def test_a_chat_template_is_used_even_one_that_takes_no_system_message(expand, host, language_model, monkeypatch):
    from transformers import LlamaForCausalLM

    read = []
    generate = LlamaForCausalLM.generate

    def watch(self, **inputs):
        read.append(inputs["input_ids"][0].tolist())
        return generate(self, **inputs)

    monkeypatch.setattr(LlamaForCausalLM, "generate", watch)
    (folder_of(host) / "chat_template.jinja").write_text(TEMPLATE)
    expand("red ball", "local model", language_model, "circle")
    assert read == [[7, 3, 2, 4, 8, 0]]  # [ circle red ball ] answer
    (folder_of(host) / "chat_template.jinja").write_text("{{ nothing.at.all }}")
    with pytest.raises(ValueError, match="the chat template of .*tiny fails: .*undefined"):
        expand("red ball", "local model", language_model)


def test_cancelling_ends_the_writing(expand, host, language_model):
    looks = iter(range(1000))
    host.is_interrupted = lambda: next(looks) >= 4  # at the second token
    with pytest.raises(runtime.Interrupted):
        expand("red ball", "local model", language_model, on_failure="pass the prompt on")
    assert next(looks) == 5


def pickled(folder):
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")


def renamed_pickle(folder):
    torch.save({"a": torch.zeros(1)}, folder / "model.safetensors")


def without(name):
    return lambda folder: (folder / name).unlink()


def cut(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-100])


def with_config(**changes):
    def change(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def without_tokenizer(folder):
    for file in folder.glob("*token*"):
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (shutil.rmtree, "language model 'tiny' isn't there; it should lie in .*LLM"),
        (without("config.json"), "tiny/config.json isn't there"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json is no valid JSON"),
        (with_config(model_type=None), "has no model_type: it isn't a transformers language model"),
        (with_config(model_type="umt5"), "can't be loaded as a language model: "),
        (with_config(model_type="mine", auto_map={"AutoConfig": "a.A", "AutoModelForCausalLM": "a.B"}),
         "it needs code of its own, and no model's code is ever run"),
        (with_config(num_hidden_layers=3), "lacks 9 of its config's tensors .'model.layers.2"),
        (with_config(hidden_size=64), "can't be loaded as a language model: "),
        (without("model.safetensors"), "holds no weights"),
        (pickled, "holds only pickles .pytorch_model.bin., which are never loaded"),
        (renamed_pickle, "model.safetensors is a pickle .* never loaded"),
        (cut, "model.safetensors is truncated"),
        (without_tokenizer, "tiny has no tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("[]"), "can't be loaded as a language model: "),
    ],
)  # fmt: skip
def test_a_folder_that_is_missing_incomplete_or_pickled_is_one_clear_line(expand, host, language_model, spoil, says):
    spoil(folder_of(host))
    with pytest.raises((ValueError, FileNotFoundError), match=says) as error:
        expand("red ball", "local model", language_model)
    assert "\n" not in str(error.value)
    assert expand("red ball", "local model", language_model, on_failure="pass the prompt on") == "red ball"


@pytest.mark.parametrize("name", ["../LLM/tiny", "/etc", "a\0b", "Tiny"])
def test_a_name_leads_nowhere_else(expand, host, language_model, name):
    with pytest.raises(FileNotFoundError, match="isn't there; it should lie in"):
        expand("red ball", "local model", name)


def test_inside_comfyui_models_LLM_needs_no_other_pack_to_register_it(monkeypatch, tmp_path):
    folders = {"LLM": [["/packs/LLM"]]}
    paths = SimpleNamespace(get_folder_paths=lambda kind: folders[kind][0], models_dir=str(tmp_path))
    monkeypatch.setitem(sys.modules, "folder_paths", paths)
    monkeypatch.setitem(sys.modules, "comfy.model_management", SimpleNamespace())
    assert runtime.model_folders(runtime.LANGUAGE_MODELS) == [Path("/packs/LLM")]
    folders.clear()
    assert runtime.model_folders(runtime.LANGUAGE_MODELS) == [tmp_path / "LLM"]
