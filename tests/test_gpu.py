"""On a GPU: these tests in a process that has one, which is the stand-in of standin/__init__.py.

SPACETIME_STANDIN=1 python -m pytest tests/families

Others go so too, but those that themselves compare with tensors on the CPU.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import standin

ROOT = Path(__file__).parents[1]
TESTS = {
    "tests/on_gpu": [],
    "tests/families": ["-k", "every_way_of_offloading or decoded_in_tiles or text_to_video or T2V"],
    "tests/verbs": [],
}


@pytest.mark.skipif(bool(os.environ.get("SPACETIME_STANDIN")), reason="this process has one already")
@pytest.mark.parametrize("folder", TESTS)
def test_on_a_gpu(folder, tmp_path):
    if why := standin.why_not():
        pytest.skip(why)
    command = [sys.executable, "-m", "pytest", folder, *TESTS[folder], "-p", "no:cacheprovider", "--basetemp", tmp_path]
    env = {**os.environ, "SPACETIME_STANDIN": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout.splitlines()[-1]
