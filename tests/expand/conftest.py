"""Expand Prompt and who stands behind it: a chat endpoint on this machine, a tiny language model."""

import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
import torch
from spacetime_nodes.model_loaders import chat_endpoint

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
