"""How time and memory grow with a video's length: `python -m benchmarks.long_video`.

Runs workflows/minute_long.json at several lengths, each in a fresh process, and prints seconds and peak memory beside
those of the first length.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GRAPH = Path(__file__).parents[1] / "workflows" / "minute_long.json"


def run(seconds: float, folder: str) -> tuple[float, float]:
    """Wall time in seconds and peak memory in bytes of one run."""
    command = [sys.executable, "-m", "spacetime_nodes.host.cli", "run", str(GRAPH), "--out", folder]
    command += ["--set", f"Spacetime Grid.seconds={seconds:g}", "--set", "Sample.preview=false"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - started, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--lengths", nargs="+", type=float, default=[5, 10, 20, 60], help="seconds of video")
    lengths = arguments.parse_args().lengths
    print("video     time           peak memory")
    with tempfile.TemporaryDirectory() as folder:
        first = None
        for length in lengths:
            took, memory = run(length, folder)
            first = first or (took, memory)
            more, extra = took / first[0], memory / first[1]
            print(f"{length:4g} s  {took:6.1f} s ×{more:5.2f}   {memory / 1e6:5.0f} MB ×{extra:5.2f}", flush=True)


if __name__ == "__main__":
    main()
