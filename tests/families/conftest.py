"""One folder of tiny models for all families, and the table of differences: printed, and with SPACETIME_TABLE=1 kept in
model_loaders/families/README.md."""

import os
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "model_loaders" / "families" / "README.md"
ROWS: dict[tuple[str, str], tuple[str, str]] = {}


@pytest.fixture(scope="session")
def models_base(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


@pytest.fixture(scope="session")
def pipelines(models_base):
    """`pipelines(name)`: diffusers' pipeline of a tiny model, which is saved where the loaders find it."""
    from bench import save
    from tiny import MODELS

    made = {}

    def get(name):
        if name not in made:
            made[name] = save(MODELS[name](), models_base, name)
        return made[name]

    return get


@pytest.fixture
def base(models_base):
    """Nodes find the tiny models as a user's."""
    return models_base


@pytest.fixture(autouse=True)
def hosted(host):
    return host


@pytest.fixture
def same():
    """`same(family, mode, ours, theirs, known="")`: the largest difference, which goes into the table too. 2 % more
    guidance must show.

    ours: guidance → latents.
    """
    from bench import GUIDANCE

    def check(family, mode, ours, theirs, known="none"):
        mine = ours(GUIDANCE)
        assert mine.shape == theirs.shape and theirs.isfinite().all()
        difference = float((mine - theirs).abs().max())
        ROWS[family, mode] = (f"{difference:.1e}" if difference else "0.0", known)
        assert (ours(GUIDANCE * 1.02) - theirs).abs().max() > 1e-5
        return difference

    return check


def table() -> list[str]:
    lines = ["| family | mode | known cells | difference from diffusers' pipeline |", "|---|---|---|---|"]
    return lines + [f"| {family} | {mode} | {known} | {far} |" for (family, mode), (far, known) in sorted(ROWS.items())]


def pytest_terminal_summary(terminalreporter):
    if not ROWS:
        return
    terminalreporter.write_line("")
    for line in table():
        terminalreporter.write_line(line)
    if os.environ.get("SPACETIME_TABLE"):  # what didn't run this time stays as it was
        head, _, rows = README.read_text().partition("| family |")
        for row in rows.splitlines()[2:]:
            family, mode, known, far = (cell.strip() for cell in row.strip("|").split("|"))
            ROWS.setdefault((family, mode), (far, known))
        README.write_text(head + "\n".join(table()) + "\n")
