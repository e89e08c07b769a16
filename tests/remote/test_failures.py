"""What goes wrong on the server is told as a run here would tell it, with the same exit codes."""

import asyncio
import json

import pytest
from aiohttp import web
from command import says_one_line

from .conftest import MAKE, WAITING


@pytest.mark.parametrize(
    "kind, message, code, name",
    [
        ("ValueError", "length 80 doesn't fit: 77 or 81", 5, "node_failed"),
        ("torch.OutOfMemoryError", "Allocation on device\nTIPS: smaller", 6, "out_of_memory"),
        ("MemoryError", "needs 90 GB", 6, "out_of_memory"),
        ("ModuleNotFoundError", "No module named 'sentencepiece'", 5, "node_failed"),
        ("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried", 6, "out_of_memory"),
        ("FileNotFoundError", "there is no vae.safetensors", 4, "missing_file"),
        ("spacetime_nodes.model_loaders.checkpoint.CheckpointError", "it is a web page", 4, "missing_file"),
        ("KeyError", "'weight'", 5, "node_failed"),
    ],
)
def test_each_failure_there_has_its_exit_code_here(run, fake, kind, message, code, name):
    fake.fails(exception_type=kind, exception_message=message)
    found, out, err = run(MAKE, fake, "--json")
    answer = json.loads(out)["error"]
    assert (found, answer["code"], answer["node"]) == (code, name, "5")
    says_one_line(err, "My node (node 5): " + message.split("\n")[0])
    hint = answer["hint"]
    assert bool(hint) == (code == 6)
    if hint:  # our own servers say it in their message
        fake.fails(exception_type=kind, exception_message=f"{message} ({hint})")
        assert json.loads(run(MAKE, fake, "--json")[1])["error"] == answer


def test_a_failing_node_of_a_real_server_is_told_as_here(run, editor):
    code, out, err = run(WAITING, editor, "--json", "--set", "hold on.value=13")
    assert code == 5 and json.loads(out)["error"]["node"] == "2"
    says_one_line(err, "Show (node 2): 13 brings bad luck; any other number would be right")


def test_an_interruption_there_and_a_run_that_fails_without_a_word(run, fake):
    fake.fails("execution_interrupted")
    code, _, err = run(MAKE, fake)
    assert code == 130
    says_one_line(err, "interrupted on the server")
    fake.fails("execution_start")
    code, _, err = run(MAKE, fake)
    assert code == 5
    says_one_line(err, "the run failed on the server, which doesn't say why")


def test_an_output_that_a_node_blocks_is_a_failure_though_only_the_socket_says_so(run, fake, hasty):
    fake.outcome, over = None, fake.outcome

    async def socket(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        while not fake.posted:
            await asyncio.sleep(0.01)
        job = fake.posted[0]["prompt_id"]
        data = {"prompt_id": job, "node_id": "5", "exception_type": "ExecutionBlocked"}
        data["exception_message"] = "Execution Blocked: too dark"
        await socket.send_json({"type": "execution_error", "data": data})
        await asyncio.sleep(0.1)
        fake.history[job] = over
        await socket.receive()
        return socket

    fake.before["/ws"] = socket
    code, _, err = run(MAKE, fake)
    assert code == 5
    says_one_line(err, "My node (node 5): too dark")


@pytest.mark.parametrize(
    "answer, code, words",
    [
        (
            {"type": "custom_validation_failed", "message": "Custom validation failed for node", "details": "no such"},
            3,
            ["My node (node 5): Custom validation failed for node: no such"],
        ),
        (
            {
                "type": "value_not_in_list",
                "message": "Not there",
                "details": "a.png",
                "extra_info": {"input_name": "file"},
            },
            4,
            ["My node (node 5): Not there: a.png"],
        ),
        (None, 3, ["the server refuses the workflow: Nothing to do (really)"]),
    ],
)
def test_what_the_server_refuses_itself_is_told(run, fake, answer, code, words):
    fake.definitions["Make"]["input"]["required"]["file"] = [["a.png"], {"image_upload": True}]
    fake.files["a.png"] = b"x"

    async def refuse(request):
        errors = {"5": {"errors": [answer], "class_type": "Make"}} if answer else {}
        error = {"type": "x", "message": "Nothing to do", "details": "really"}
        return web.json_response({"error": error, "node_errors": errors}, status=400)

    fake.before["/prompt"] = refuse
    found, _, err = run({"5": {**MAKE["5"], "inputs": {"steps": 1, "file": "a.png"}}}, fake)
    assert found == code
    says_one_line(err, *words)


def test_a_job_of_which_only_a_part_would_run_is_taken_back(run, fake):
    async def half(request):
        content = await request.json()
        fake.pending.append([1, content["prompt_id"]])
        errors = {"5": {"errors": [{"type": "x", "message": "No good", "details": ""}], "class_type": "Make"}}
        return web.json_response({"prompt_id": content["prompt_id"], "number": 1, "node_errors": errors})

    fake.before["/prompt"] = half
    code, _, err = run(MAKE, fake)
    assert code == 3 and len(fake.deleted) == 1 and not fake.pending
    says_one_line(err, "My node (node 5): No good")
