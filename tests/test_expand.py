"""Expand Prompt: what each back end writes, and what it says when it can't."""

import json
import random
import shutil
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from spacetime_nodes.host.executor import Executor
from spacetime_nodes.model_loaders import chat_endpoint, pocket_grammar
from spacetime_nodes.nodes import runtime
from spacetime_nodes.training import world

KEY = "sk-a-secret-of-ours"
LONG = "red circle " * 910  # 10,010 characters


@pytest.fixture
def expand(nodes, host):
    """The caption that the node gives, having checked that it shows it."""

    def run(prompt, back_end, model="none", instruction="Describe it.", seed=0, on_failure="stop"):
        made = nodes["SpacetimeExpandPrompt"]().run(prompt, back_end, model, instruction, seed, on_failure)
        (text,) = made["result"]
        assert made["ui"]["text"] == [text]
        return text

    return run


# ---- the pocket grammar -------------------------------------------------------------------------------------------


def said(prompt):
    """What is read, as plain values: each thing's, background, camera."""
    reading = pocket_grammar.read(prompt)
    things = [{slot: token.value for slot, token in thing.items()} for thing in reading.things]
    return things, reading.ground, reading.camera, reading.left_out


RED_RIGHT = {"colour": "red", "shape": "circle", "motion": "right"}


@pytest.mark.parametrize(
    "prompt", ["red ball going right", "going right, a red disc", "RIGHTWARD moves the ball. Red!"]
)
def test_word_order_and_synonyms_do_not_matter(prompt):
    (thing,), *rest = said(prompt)
    assert {slot: value for slot, value in thing.items() if slot != "moves"} == RED_RIGHT and rest == [None, None, []]


def test_things_background_camera_size_and_speed_are_read():
    prompt = "big red ball falling fast and a small blue box on grey, the camera pans left"
    things, ground, camera, left_out = said(prompt)
    assert things[0] == {"size": "large", "colour": "red", "shape": "circle", "motion": "down", "quick": True}
    assert things[1] == {"size": "small", "colour": "blue", "shape": "square"}
    assert (ground, camera, left_out) == ("gray", "left", [])
    assert [thing.get("colour") for thing in said("two things: blue box and a star")[0]] == ["blue", None]
    small_box = {"size": "small", "colour": "blue", "shape": "square"}
    assert said("red star rising small blue square")[0] == [{**RED_RIGHT, "shape": "star", "motion": "up"}, small_box]
    assert said("two red stars")[0] == [{"colour": "red", "shape": "star"}] * 2
    assert said("red and blue stars")[0] == [{"colour": colour, "shape": "star"} for colour in ("red", "blue")]
    assert [thing["motion"] for thing in said("a star and a ball, both rising")[0]] == ["up", "up"]
    assert said("still camera, star") == ([{"shape": "star"}], None, "still", [])


def test_every_caption_of_the_world_is_read_as_what_it_describes():
    for seed in range(200):
        rng = random.Random(seed)
        scene = world.sample_scene(rng, width=64, height=64, frames=17, split="all")
        for style in ("plain", "short", "mixed", "long"):
            text = world.caption(scene, rng, style)
            things, ground, camera, left_out = said(text)
            assert left_out == [] and len(things) == len(scene.things), text
            assert ground in (None, scene.background) and camera in (None, scene.camera), text
            for thing, true in zip(things, scene.things, strict=True):
                assert all(getattr(true, slot) == value for slot, value in thing.items()), text
        assert ground and camera and all("motion" in thing for thing in things)  # the long one says all


def test_the_grammar_keeps_what_was_said_and_fills_in_the_rest_in_pockets_words(expand, pocket, host):
    for seed in range(40):
        text = expand("blue box going up, two things, on navy", "pocket grammar", seed=seed)
        (box, other), ground, camera, left_out = said(text)
        assert (box["colour"], box["shape"], box["motion"]) == ("blue", "square", "up") and other["colour"] != "blue"
        assert (ground, camera, left_out) == ("navy", "still", []) and "motion" in other
        assert pocket.text_encoder.unread(text) == ([], 0) and host.notices == []


def test_same_seed_same_caption(expand):
    texts = [expand("star", "pocket grammar", seed=seed) for seed in (1, 1, 2, 3, 2**64 - 1)]
    assert texts[0] == texts[1] and len(set(texts)) == 4


def test_words_without_a_place_are_named(expand, host):
    text = expand("a zebra and a red circle on a red background, growing slowly 🎬", "pocket grammar")
    (notice,) = host.notices
    assert notice.startswith(
        "the pocket world has no place for 'zebra', 'red background', '🎬', 'slowly'; it has one or"
    )
    assert "red" in text and "slowly" not in text and "\n" not in notice
    expand("red circle, blue star, green box", "pocket grammar")
    assert "no place for 'green box'" in host.notices[1]


# ---- prompts that are none ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("back_end", ["pocket grammar", "chat endpoint", "local model"])
@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt_is_refused_before_anybody_is_asked(expand, host, back_end, prompt):
    with pytest.raises(ValueError, match="the prompt is empty: a few words would do"):
        expand(prompt, back_end)
    assert expand(prompt, back_end, on_failure="pass the prompt on") == prompt


def test_ten_thousand_characters_are_read(expand, host, server, language_model):
    assert len(expand(LONG, "pocket grammar")) < 300 and len(expand("x" * 10_000, "pocket grammar")) < 300
    assert all(len(notice) < 600 for notice in host.notices)
    assert expand(LONG, "chat endpoint") == "A caption." and server.bodies[0]["messages"][1]["content"] == LONG
    with pytest.raises(ValueError, match="the prompt and its instruction are 18[0-9]* tokens; tiny reads 480"):
        expand(LONG, "local model", language_model)


# ---- the chat endpoint --------------------------------------------------------------------------------------------


def completion(content):
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()


@pytest.fixture
def server(monkeypatch):
    """A chat endpoint on this machine that answers `status`, `headers` and `data`, or as `answer(handler)` does."""
    state = SimpleNamespace(status=200, headers={}, data=completion("A caption."), answer=None, bodies=[], asked=[])
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            state.asked.append((self.path, dict(self.headers)))
            state.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if state.answer:
                return state.answer(self, over)
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(state.data)

        def do_GET(self):
            state.asked.append((self.path, dict(self.headers)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(completion("From elsewhere."))

        def log_message(self, *args):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
    state.url = f"http://127.0.0.1:{httpd.server_port}/v1"
    for name in (name for names in chat_endpoint.VARIABLES for name in names):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("SPACETIME_LLM_URL", state.url)
    monkeypatch.setenv("SPACETIME_LLM_KEY", KEY)
    monkeypatch.setenv("SPACETIME_LLM_MODEL", "some-model")
    yield state
    over.set()
    httpd.shutdown()
    httpd.server_close()


def test_an_endpoint_is_asked_in_the_usual_form(expand, server):
    server.data = completion('<think>Hm,\nred.</think>\n\n"A red ball\n\nrolls\u202ewest\ud800now."\n')
    assert expand("red ball", "chat endpoint", seed=2**64 - 1) == "A red ball rolls west now."
    ((path, headers),) = server.asked
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    system, user = server.bodies[0].pop("messages")
    assert (system, user) == (
        {"role": "system", "content": "Describe it."},
        {"role": "user", "content": "red ball"},
    )
    assert server.bodies[0] == {"model": "some-model", "seed": 2**31 - 1, "stream": False}


@pytest.mark.parametrize(
    ("status", "data", "says"),
    [
        (200, b"not JSON", "answered with no JSON instead of a chat completion"),
        (200, b"", "answered with nothing instead of a chat completion"),
        (200, b"<!DOCTYPE html><p>Hello", "answered with a web page instead of .*usually ends in /v1"),
        (200, b"\xff\xfe\x00", "answered with no JSON"),
        (200, b"[" * 100_000, "answered with no JSON"),
        (200, b"[1, 2]", "JSON that has no choices"),
        (200, b'{"choices": []}', "JSON that has no choices"),
        (200, b'{"error": "out of cheese"}', "JSON that has no choices.*: out of cheese"),
        (200, completion(None), "JSON that has no choices"),
        (200, completion({"a": 1}), "JSON that has no choices"),
        (200, completion(" \n"), "answered with an empty text"),
        (200, completion("<think>on and on"), "answered with an empty text"),
        (200, completion("word " * 1000), "answered with 4999 characters; a caption has at most 4000"),
        (200, completion("x" * 2_000_000), "answered with more than 1,000,000 bytes"),
        (401, b'{"error": {"message": "bad key\\n"}}', r"refuses the key; SPACETIME_LLM_KEY .*\(HTTP 401: bad key\)"),
        (403, b"no", r"refuses the key.*\(HTTP 403\)"),
        (404, b'{"error": "no model"}', r"has no such address, or no model 'some-model' \(HTTP 404: no model\)"),
        (429, b"", r"too many requests or its quota is used up; try again later \(HTTP 429\)"),
        (500, b"<html>oops", r"failed \(HTTP 500\)"),
        (400, json.dumps({"error": {"message": "y" * 9999}}).encode(), r"refuses the request \(HTTP 400: y{199}…\)"),
    ],
)
def test_nonsense_from_an_endpoint_is_one_clear_line(expand, server, status, data, says):
    server.status, server.data = status, data
    with pytest.raises(ValueError, match=says) as error:
        expand("red ball", "chat endpoint")
    told = str(error.value)
    assert told.startswith(f"the chat endpoint {server.url}/chat/completions ") and "\n" not in told and len(told) < 400


def test_an_endpoint_that_is_down_is_one_clear_line(expand, server, monkeypatch):
    monkeypatch.setenv("SPACETIME_LLM_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(ValueError, match="http://127.0.0.1:9/v1/chat/completions can't be reached: Connection refused"):
        expand("red ball", "chat endpoint")


def silent(handler, over):
    over.wait(30)


def dripping(handler, over):
    handler.send_response(200)
    handler.end_headers()
    while not over.wait(0.05):
        handler.wfile.write(b" ")


def hanging_up(handler, over):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")


def babbling(handler, over):
    handler.wfile.write(b"220 mail.example.org ESMTP\r\n")


@pytest.mark.parametrize("answer", [silent, dripping])
def test_a_slow_endpoint_is_waited_for_only_so_long(expand, server, monkeypatch, answer):
    monkeypatch.setattr(chat_endpoint, "TIMEOUT", 1.0)
    server.answer = answer
    start = time.monotonic()
    with pytest.raises(ValueError, match="(hasn't answered within 1 s|can't be reached: timed out)"):
        expand("red ball", "chat endpoint")
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(("answer", "says"), [(hanging_up, "no JSON"), (babbling, "can't be reached: 220 mail")])
def test_a_server_that_breaks_off_or_speaks_another_language_is_one_clear_line(expand, server, answer, says):
    server.answer = answer
    with pytest.raises(ValueError, match=says):
        expand("red ball", "chat endpoint")


def test_cancelling_ends_the_wait(expand, server, host):
    server.answer = silent
    host.is_interrupted = lambda: bool(server.bodies)
    start = time.monotonic()
    with pytest.raises(runtime.Interrupted):
        expand("red ball", "chat endpoint", on_failure="pass the prompt on")
    assert time.monotonic() - start < 10 and host.notices == []


def test_the_key_stays_out_of_every_message_and_caption(expand, server, host):
    server.data = completion(f"You sent {KEY}.")
    assert expand("red ball", "chat endpoint") == "You sent •••."
    server.status, server.data = 401, json.dumps({"error": {"message": f"Bearer {KEY} is wrong"}}).encode()
    with pytest.raises(ValueError, match="Bearer ••• is wrong") as error:
        expand("red ball", "chat endpoint")
    expand("red ball", "chat endpoint", on_failure="pass the prompt on")
    assert KEY not in str(error.value) + str(host.notices) + repr(chat_endpoint.Endpoint.from_environment())


def test_the_key_is_not_taken_to_where_an_endpoint_points(expand, server):
    server.status, server.headers = 302, {"Location": f"{server.url}/elsewhere"}
    with pytest.raises(ValueError, match=r"sends us elsewhere; set the address it has moved to \(HTTP 302\)"):
        expand("red ball", "chat endpoint")
    assert len(server.asked) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:11434/v1", "http://", "http://me:word@127.0.0.1/v1",
                                 "http://127.0.0.1:port/v1", "http://127.0.0.1/v1 x", "http://a\r\nb/v1"])  # fmt: skip
def test_an_address_that_is_none_is_refused_without_repeating_it(expand, server, monkeypatch, url):
    monkeypatch.setenv("SPACETIME_LLM_URL", url)
    with pytest.raises(
        ValueError, match="^SPACETIME_LLM_URL is no address of a chat endpoint; http://localhost"
    ) as error:
        expand("red ball", "chat endpoint")
    assert "word" not in str(error.value)


def test_what_the_environment_lacks_is_said(expand, server, monkeypatch):
    monkeypatch.delenv("SPACETIME_LLM_MODEL")
    with pytest.raises(ValueError, match="SPACETIME_LLM_MODEL isn't set"):
        expand("red ball", "chat endpoint")
    monkeypatch.setenv("SPACETIME_LLM_MODEL", "m")
    monkeypatch.setenv("SPACETIME_LLM_KEY", f"{KEY}\nX-Header: 1")
    with pytest.raises(ValueError, match="^SPACETIME_LLM_KEY holds characters that no key has") as error:
        expand("red ball", "chat endpoint")
    assert KEY not in str(error.value)
    monkeypatch.delenv("SPACETIME_LLM_URL")
    with pytest.raises(ValueError, match="no chat endpoint is set: SPACETIME_LLM_URL in the environment should hold"):
        expand("red ball", "chat endpoint")


def test_openais_variables_serve_too_but_never_send_their_key_elsewhere(expand, server, monkeypatch):
    monkeypatch.delenv("SPACETIME_LLM_KEY")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/openai/")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_MODEL", "theirs")
    expand("red ball", "chat endpoint")
    assert server.bodies[0]["model"] == "some-model" and "Authorization" not in server.asked[0][1]
    monkeypatch.delenv("SPACETIME_LLM_URL")
    expand("red ball", "chat endpoint")
    path, headers = server.asked[1]
    assert path == "/v1/openai/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    assert server.bodies[1]["model"] == "theirs"


# ---- failing and going on -----------------------------------------------------------------------------------------


def test_a_failing_back_end_says_so_and_passes_the_prompt_on_only_if_asked_to(expand, server, host):
    server.status, server.data = 500, b""
    with pytest.raises(ValueError, match="HTTP 500"):
        expand("red ball", "chat endpoint")
    assert host.notices == []
    assert expand("red ball", "chat endpoint", on_failure="pass the prompt on") == "red ball"
    (notice,) = host.notices
    assert notice == f"the chat endpoint {server.url}/chat/completions failed (HTTP 500); the prompt goes on as it is"
    assert expand("red ball", "local model", on_failure="pass the prompt on") == "red ball"
    assert host.notices[1].startswith("no language model is chosen; put a transformers folder into ")


def test_a_prompt_that_was_passed_on_is_tried_again_and_a_caption_is_kept(nodes, server, host):
    show = {"INPUT_TYPES": classmethod(lambda cls: {"required": {"text": ("STRING", {})}}), "RETURN_TYPES": ()}
    show |= {
        "FUNCTION": "run",
        "OUTPUT_NODE": True,
        "CATEGORY": "test",
        "run": lambda self, text: {"ui": {"t": [text]}},
    }
    known = {"SpacetimeExpandPrompt": nodes["SpacetimeExpandPrompt"], "Show": type("Show", (), show)}
    asked = dict(prompt="ball", language_model_name="none", instruction="", seed=0, on_failure="pass the prompt on")
    prompt = {
        "1": {"class_type": "SpacetimeExpandPrompt", "inputs": {**asked, "back_end": "chat endpoint"}},
        "2": {"class_type": "Show", "inputs": {"text": ["1", 0]}},
    }
    executor = Executor(known, host, keep=True)
    server.status = 500
    assert executor.run(prompt, ["2"])["2"]["t"] == ["ball"]
    server.status = 200
    assert executor.run(prompt, ["2"])["2"]["t"] == ["A caption."]
    assert executor.run(prompt, ["2"])["2"]["t"] == ["A caption."] and len(server.bodies) == 2
    assert server.bodies[1]["messages"] == [{"role": "user", "content": "ball"}]


# ---- the local model ----------------------------------------------------------------------------------------------

TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
    "[{{ m.content }}]{% endfor %}{% if add_generation_prompt %} answer{% endif %}"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A language model with random weights and a vocabulary of words, as transformers saves them."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<eos>", "red", "circle", "ball", "Caption", ":", "[", "]", *(f"w{n}" for n in range(55))]
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=512, bos_token_id=None, eos_token_id=1,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("llm") / "tiny"
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>").save_pretrained(folder)
    return folder


@pytest.fixture
def language_model(tiny, host):
    """Its name in the menu, of a copy that a test may break."""
    shutil.copytree(tiny, host.base / "models" / "LLM" / "tiny")
    return "tiny"


def folder_of(host):
    return host.base / "models" / "LLM" / "tiny"


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
