"""The embedded server's queue: what goes first, what is cancelled or interrupted, what is told of it."""

import time


def test_front_goes_first_and_a_waiting_job_can_be_cancelled(editor):
    slow = editor.queue(1, steps=500)["prompt_id"]
    editor.until(lambda: editor.job(slow)["status"] == "in_progress")
    second, third = editor.queue(2)["prompt_id"], editor.queue(3)["prompt_id"]
    first = editor.queue(4, front=True)["prompt_id"]
    queue = editor.get("/api/queue")
    assert [one[1] for one in queue["queue_running"]] == [slow]
    assert [one[1] for one in queue["queue_pending"]] == [first, second, third]
    assert editor.get("/api/prompt")["exec_info"]["queue_remaining"] == 4
    assert editor.post(f"/api/jobs/{third}/cancel") == {"cancelled": True}
    editor.post("/api/queue", {"delete": [second]})
    assert editor.post("/api/jobs/cancel", {"job_ids": [slow, "nobody"]}) == {"cancelled": [slow]}
    assert [editor.over(one)["status"] for one in (slow, second, third)] == ["cancelled"] * 3
    assert editor.over(first)["status"] == "completed"
    listed = [one["id"] for one in editor.get("/api/jobs?status=completed,failed,cancelled")["jobs"]]
    assert listed == [first, slow], "what was cancelled before it began is no history"
    assert editor.post(f"/api/jobs/{first}/cancel") == {"cancelled": False}, "it is over already"


def test_interrupting_stops_within_a_step_and_spares_the_next(editor):
    with editor.window("me") as window:
        job = editor.queue(1, steps=3000, client_id="me")["prompt_id"]
        window.wait_for("progress", node="1")
        following = editor.queue(2, client_id="me")["prompt_id"]
        editor.post("/api/interrupt", {"prompt_id": "another"})
        assert editor.job(job)["status"] == "in_progress"
        started = time.monotonic()
        editor.post("/api/interrupt", {"prompt_id": job})
        assert window.wait_for("execution_interrupted", prompt_id=job)["node_id"] == "1"
        assert time.monotonic() - started < 5
    assert editor.over(job)["status"] == "cancelled" and editor.over(following)["status"] == "completed"
    editor.post("/api/interrupt")  # nothing runs: it mustn't hit the next one
    assert editor.over(editor.queue(3)["prompt_id"])["status"] == "completed"


def test_jobs_are_listed_in_pages(editor):
    ids = [editor.queue(n)["prompt_id"] for n in range(5)]
    for one in ids:
        editor.over(one)
    page = editor.get("/api/jobs?status=completed,failed,cancelled&limit=2&offset=1")
    assert [one["id"] for one in page["jobs"]] == [ids[3], ids[2]], "newest first"
    assert page["pagination"] == {"offset": 1, "limit": 2, "total": 5, "has_more": True}
    job = page["jobs"][0]
    assert job["status"] == "completed" and job["create_time"] <= job["execution_start_time"]
    assert job["execution_start_time"] <= job["execution_end_time"] and job["outputs_count"] == 0
    whole = editor.job(ids[0])
    assert whole["outputs"] == {"2": {"text": ["0"]}} and whole["execution_status"]["completed"] is True
    assert whole["workflow"]["prompt"]["1"]["class_type"] == "Wait"
    history = editor.get("/api/history?max_items=2")
    assert list(history) == ids[3:] and history[ids[3]]["outputs"] == {"2": {"text": ["3"]}}
    assert history[ids[3]]["prompt"][1] == ids[3]
    editor.post("/api/history", {"delete": [ids[0]]})
    assert editor.ask("GET", f"/api/jobs/{ids[0]}")[0] == 404
    editor.post("/api/history", {"clear": True})
    assert editor.get("/api/history") == {} and editor.get("/api/jobs")["jobs"] == []


def test_a_window_that_comes_back_hears_where_its_job_is(editor):
    window = editor.window("me")
    job = editor.queue(1, steps=300, client_id="me")["prompt_id"]
    window.wait_for("progress")
    window.close()
    with editor.window("me") as again:
        assert again.wait_for("executing")["node"] == "1"
        assert again.wait_for("progress_state")["prompt_id"] == job
        editor.post("/api/interrupt")
        again.wait_for("execution_interrupted")


def test_the_server_answers_at_once_while_a_node_computes(editor):
    job = editor.queue(1, steps=100)["prompt_id"]
    editor.until(lambda: editor.job(job)["status"] == "in_progress")
    taken = []
    for _ in range(40):
        started = time.perf_counter()
        editor.get("/api/prompt")
        taken.append(time.perf_counter() - started)
    editor.post("/api/interrupt")
    assert sorted(taken)[len(taken) // 2] < 0.05, taken
