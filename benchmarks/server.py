"""How light and steady the editor's server is: `python -m benchmarks.server`.

Prints: seconds until HTTP answers and memory before the first prompt; time of object_info and of a cached re-run;
whether 200 prompts queued by 8 windows lose an event or a job; answers while a node computes; memory over 1,000 runs.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import aiohttp

PACK = """
import time

class Number:
    RETURN_TYPES, FUNCTION, CATEGORY = ("INT",), "run", "benchmark"
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0})}}
    def run(self, value):
        return (value,)

class Show:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "run", "benchmark", True
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {})}}
    def run(self, value):
        return {"ui": {"shown": [value]}}

class Compute:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "run", "benchmark", True
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seconds": ("FLOAT", {})}}
    def run(self, seconds):
        import torch
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            torch.randn(512, 512) @ torch.randn(512, 512)
        return {}

NODE_CLASS_MAPPINGS = {"Number": Number, "Show": Show, "Compute": Compute}
"""


def graph(value: int) -> dict:
    number = {"class_type": "Number", "inputs": {"value": value}}
    return {"1": number, "2": {"class_type": "Show", "inputs": {"value": ["1", 0]}}}


def memory(process: subprocess.Popen) -> float:
    """MB that the process holds now."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def computed(process: subprocess.Popen) -> float:
    """Seconds of CPU that the process has used: steadier than the clock where others compute too."""
    user, system = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


async def post(session, url: str, prompt: dict, client: str = "") -> str:
    async with session.post(f"{url}api/prompt", json={"prompt": prompt, "client_id": client}) as answer:
        return (await answer.json())["prompt_id"]


async def finished(session, url: str, job: str):
    while True:
        async with session.get(f"{url}api/jobs/{job}") as answer:
            if (await answer.json())["status"] not in ("pending", "in_progress"):
                return
        await asyncio.sleep(0.002)


async def timed(session, url: str) -> float:
    started = time.perf_counter()
    async with session.get(url) as answer:
        await answer.read()
    return (time.perf_counter() - started) * 1000


async def listen(session, url: str, client: str, heard: list):
    async with session.ws_connect(f"{url}api/ws?clientId={client}") as socket:
        async for message in socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                heard.append(json.loads(message.data))


async def queued(session, url: str, prompts: int, windows: int) -> str:
    clients = [uuid.uuid4().hex for _ in range(windows)]
    heard: dict[str, list] = {client: [] for client in clients}
    listeners = [asyncio.create_task(listen(session, url, client, heard[client])) for client in clients]
    while not all(heard.values()):
        await asyncio.sleep(0.01)
    started = time.perf_counter()
    jobs = [
        (client, await post(session, url, graph(1000 + n), client))
        for n, client in enumerate(clients * (prompts // windows))
    ]
    for _, job in jobs:
        await finished(session, url, job)
    await asyncio.sleep(0.5)
    seconds = time.perf_counter() - started - 0.5
    lost = 0
    for client, job in jobs:
        names = [one["type"] for one in heard[client] if one["data"].get("prompt_id") == job]
        complete = names[:2] == ["execution_start", "execution_cached"] and names[-2:] == [
            "execution_success",
            "executing",
        ]
        lost += not (complete and names.count("executed") == 1 and names.count("executing") == 3)
    for one in listeners:
        one.cancel()
    events = sum(map(len, heard.values()))
    return (
        f"{len(jobs)} prompts of {windows} windows in {seconds:.1f} s, {events} events, {lost} jobs with a lost event"
    )


async def measure(process: subprocess.Popen, url: str, arguments):
    async with aiohttp.ClientSession() as session:
        infos = [await timed(session, url + "api/object_info") for _ in range(20)]
        print(f"memory before the first prompt      {memory(process):7.0f} MB")
        print(f"object_info                         {statistics.median(infos):7.1f} ms   fastest {min(infos):.1f}")
        await finished(session, url, await post(session, url, graph(1)))
        reruns = []
        for _ in range(20):
            started = time.perf_counter()
            await finished(session, url, await post(session, url, graph(1)))
            reruns.append((time.perf_counter() - started) * 1000)
        print(f"a cached re-run, post to finished   {statistics.median(reruns):7.1f} ms   fastest {min(reruns):.1f}")
        print(await queued(session, url, arguments.prompts, arguments.windows))
        job = await post(session, url, {"1": {"class_type": "Compute", "inputs": {"seconds": 5.0}}})
        await asyncio.sleep(0.5)
        answers = []
        while len(answers) < 80:
            answers.append(await timed(session, url + "api/prompt"))
            await asyncio.sleep(0.05)
        answers.sort()
        await finished(session, url, job)
        print(f"answers while a node computes       {answers[40]:7.1f} ms   slowest of 80 {answers[-1]:.1f}")
        for n in range(100):
            await finished(session, url, await post(session, url, graph(n)))
        before = memory(process)
        for n in range(arguments.runs):
            await finished(session, url, await post(session, url, graph(n)))
        after = memory(process)
        print(f"memory over {arguments.runs} runs: {before:.1f} → {after:.1f} MB, {(after / before - 1) * 100:+.1f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--runs", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pack.py").write_text(PACK)
        options = ["--no-browser", "--port", "0", "--base", folder, "--node-pack", str(Path(folder, "pack.py"))]
        starts, cpu = [], []
        for i in range(5):
            started = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, "-m", "spacetime_nodes.host.cli", "edit", *options], stdout=subprocess.PIPE, text=True
            )
            url = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
            starts.append(time.perf_counter() - started)
            cpu.append(computed(process))
            if i < 4:
                process.kill()
                process.communicate()
        try:
            print(
                f"start until HTTP answers            {statistics.median(starts):7.2f} s  of it {min(cpu):.2f} s of CPU"
            )
            asyncio.run(measure(process, url, arguments))
        finally:
            process.kill()
            process.communicate()


if __name__ == "__main__":
    main()
