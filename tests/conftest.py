"""The real thing for every test: pocket, loaded once, and stock diffusers beside it as the oracle."""

from types import SimpleNamespace

import pytest

POCKET = "pocket (built in)"


@pytest.fixture(scope="session")
def nodes():
    from spacetime_nodes.nodes import NODE_CLASS_MAPPINGS

    return NODE_CLASS_MAPPINGS


@pytest.fixture(scope="session")
def pocket(nodes):
    """The three components of the built-in model, as the loader nodes give them."""
    (dit,) = nodes["SpacetimeLoadDiT"]().run(POCKET)
    (vae,) = nodes["SpacetimeLoadVAE"]().run(POCKET)
    (text_encoder,) = nodes["SpacetimeLoadTextEncoder"]().run(POCKET)
    return SimpleNamespace(dit=dit, vae=vae, text_encoder=text_encoder)


@pytest.fixture(scope="session")
def stock():
    """Stock WanPipeline on pocket's folder."""
    import torch
    from diffusers import WanPipeline
    from spacetime_nodes.model_loaders.folders import POCKET_FOLDER

    pipeline = WanPipeline.from_pretrained(POCKET_FOLDER, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def host(tmp_path):
    """A host with an empty base folder; what nodes tell the user is collected in `host.notices`."""
    from spacetime_nodes.nodes import runtime

    host = runtime.Host(base=tmp_path)
    host.notices = []
    host.on_notice = host.notices.append
    token = runtime.HOST.set(host)
    yield host
    runtime.HOST.reset(token)
