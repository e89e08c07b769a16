"""Anything at all, on every route: no answer is a 500, and the server runs prompts afterwards."""

import json
import string
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_server_safety import JSON, alive

TEXT = st.text(st.characters(codec="utf-8") | st.sampled_from("./\\%\x00"), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.dictionaries(
    st.sampled_from(
        "prompt client_id prompt_id number front extra_data partial_execution_targets clear delete job_ids "
        "unload_models free_memory 1 class_type inputs".split()
    ),
    VALUES,
)
SEGMENT = st.text(string.printable + "é猫", min_size=1, max_size=12)


NAMES = ("{pack}", "{path}", "{kind}", "{type}", "{id}", "{target}", "{name}", "{rest}")
QUERY = st.dictionaries(
    st.sampled_from("type filename subfolder dir limit offset status preview".split()), TEXT, max_size=3
)


def every_route():
    from spacetime_nodes.host.packs import own_packs
    from spacetime_nodes.host.server import Server, make_app
    from spacetime_nodes.nodes import runtime

    routes = make_app(Server(runtime.Host(), own_packs())).router.routes()
    found = {(route.method, route.resource.canonical) for route in routes if route.resource is not None}
    return sorted((method, path) for method, path in found if not path.endswith("/ws"))


ROUTES = every_route()


@settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(ROUTES), st.lists(SEGMENT, min_size=8, max_size=8), QUERY, FIELDS | VALUES)
def test_no_json_on_any_route_brings_the_server_down(shared_editor, route, segments, query, content):
    method, path = route
    for name, segment in zip(NAMES, segments, strict=True):
        path = path.replace(name, quote(segment, safe="/"))
    path += "?" + "&".join(f"{key}={quote(value.encode('utf-8', 'replace'))}" for key, value in query.items())
    body = None if method in ("GET", "HEAD") else json.dumps(content)
    status, _, answer = shared_editor.ask("POST" if method == "*" else method, path, body, JSON)
    assert status < 500, (method, path, body, answer)


def test_the_server_runs_prompts_after_all_that(shared_editor):
    assert alive(shared_editor)
