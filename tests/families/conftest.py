"""One folder of tiny models for all families, and the table of differences: printed, and as model_loaders/families/
README.md has it, which SPACETIME_TABLE=1 writes."""

import os
from pathlib import Path

import pytest

WRITES = bool(os.environ.get("SPACETIME_TABLE"))
README = Path(__file__).parents[2] / "model_loaders" / "families" / "README.md"
DIFFERENCES = "| family | mode | known cells | difference from diffusers' pipeline |"
VERBS = (
    *("place", "keyframe", "extend forward", "extend backward", "extend both ways", "connect", "close a loop"),
    *("inpaint", "outpaint"),
)
WAYS = f"| model | {' | '.join(VERBS)} |"
TABLES: dict[str, dict[tuple, tuple]] = {DIFFERENCES: {}, WAYS: {}}  # header → what names a row → the row
NAMED_BY = {DIFFERENCES: 2, WAYS: 1}  # cells of it


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
def distilled(pipelines, base, monkeypatch):
    """`distilled(pipeline class, name)`: an LTX-2's pipeline and our model, of the steps it was distilled for."""
    import bench
    from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES
    from ltx2_bench import distilled

    monkeypatch.setattr(bench, "STEPS", len(DISTILLED_SIGMA_VALUES))
    return lambda kind, name="LTX-2.3": distilled(kind, pipelines(name), base, name)


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
        note(DIFFERENCES, (family, mode, known, f"{difference:.1e}" if difference else "0.0"))
        assert (ours(GUIDANCE * 1.02) - theirs).abs().max() > 1e-5
        return difference

    return check


@pytest.fixture
def ways():
    """`ways(model, {verb: how known cells reached it})`, for the other table."""

    def record(name, found):
        note(WAYS, (name, *(found[verb] for verb in VERBS)))

    return record


def note(header: str, row: tuple):
    """Into the table. What the README says of it is the same; SPACETIME_TABLE=1 makes it so."""
    TABLES[header][row[: NAMED_BY[header]]] = row
    assert WRITES or as_line(row) in README.read_text().splitlines(), "SPACETIME_TABLE=1 writes it"


def as_line(row: tuple) -> str:
    return f"| {' | '.join(row)} |"


def table(header: str) -> list[str]:
    rows = [header, "|---" * (header.count("|") - 1) + "|"]
    return rows + [as_line(row) for _, row in sorted(TABLES[header].items())]


def pytest_terminal_summary(terminalreporter):
    for header, rows in TABLES.items():
        if not rows:
            continue
        terminalreporter.write_line("")
        for line in table(header):
            terminalreporter.write_line(line)
        if WRITES:  # what didn't run this time stays as it was
            before, _, rest = README.read_text().partition(header)
            old, gap, after = rest.partition("\n\n")
            for line in old.strip().splitlines()[1:]:
                row = tuple(cell.strip() for cell in line.strip("|").split("|"))
                rows.setdefault(row[: NAMED_BY[header]], row)
            README.write_text(before + "\n".join(table(header)) + (gap + after if gap else "\n"))
