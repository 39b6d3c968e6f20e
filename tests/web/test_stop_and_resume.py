"""A search is started, stopped, resumed with a larger budget, and stopped again, as from the page."""

import time

ENDLESS = {"formula": "Al4", "search": {"max_rounds": 1000, "quiet_rounds": 1000, "budget": 5000, "pool": 20}}


def wait(server, run, wanted, seconds=200):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status, data = server.get(f"/api/runs/{run}")
        assert status == 200, data
        if wanted(data):
            return data
        time.sleep(0.3)
    raise AssertionError(f"status {data['status']}, {data.get('calls')} calls, message {data['message']}")


def test_stop_and_resume(server):
    status, started = server.post("/api/runs", {"profile": "aluminium", "settings": ENDLESS})
    assert status == 201, started
    run = started["run"]
    assert server.get(f"/api/runs/{run}")[1]["status"] in ("starting", "running")
    wait(server, run, lambda data: data["status"] == "running" and data["calls"] > 0)
    phase = wait(server, run, lambda data: data["phase"] is not None)["phase"]
    assert 0 <= phase["done"] <= phase["total"]
    assert server.post(f"/api/runs/{run}/resume", {})[0] == 409
    answer = server.get(f"/api/runs/{run}/events?after=0&wait=20")[1]
    assert answer["events"]
    assert server.post(f"/api/runs/{run}/stop", {})[0] == 200
    first = wait(server, run, lambda data: data["status"] == "stopped" and not data["can_stop"])
    assert "resume" in first["message"]
    assert first["phase"] is None
    assert server.post(f"/api/runs/{run}/resume", {"budget": 6000})[0] == 200
    again = wait(server, run, lambda data: data["status"] == "running" and data["calls"] > first["calls"])
    assert again["budget"] == 6000
    server.post(f"/api/runs/{run}/stop", {})
    wait(server, run, lambda data: data["status"] == "stopped")
