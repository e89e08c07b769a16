"""The command in this process."""

import pytest
from spacetime_nodes.host.cli import main


@pytest.fixture
def spacetime(tmp_path, capsys):
    """Run in this process: exit code, stdout, stderr."""

    def call(*arguments, classes=None):
        base = [] if "--base" in arguments else ["--base", str(tmp_path)]
        code = main([*map(str, arguments), *base], classes)
        return code, *capsys.readouterr()

    return call
