"""Section G: states that are saved, resumed, foreign and hostile."""

from __future__ import annotations

import json

import pytest

from faults.conftest import Server
from faults.test_workers import whole


def test_a_state_is_plain_json_and_resumes_from_every_step_with_batches_in_flight(server: Server) -> None:
    """G1, G4: under 1 KB, counts what was delivered, and any number of workers goes on with exactly the rest."""
    outcome = server.ask("saved_states")
    assert outcome["wrong"] == []
    assert [state["position"] for state in outcome["states"]] == list(range(0, 97, 8))
    assert max(len(json.dumps(state)) for state in outcome["states"]) < 1000


@pytest.fixture(scope="module")
def hostile(server: Server) -> dict:
    """What a loader says to a hundred states that are not its own."""
    return server.ask("hostile_states")


@pytest.mark.parametrize("what", ["seed", "kind of order", "order", "fields", "version", "records"])
def test_a_foreign_state_is_refused_by_what_differs(hostile: dict, what: str) -> None:
    """G2: the text names the field."""
    error = hostile["told"][what]
    assert "StateError" in error["kinds"]
    words = {
        "fields": "digest of the fields (names, dtypes, shapes)",
        "records": "records when the state was made",
        "version": "version of the state",
    }
    assert words.get(what, what) in error["text"]


def test_a_hostile_state_is_refused_at_once_and_harms_nothing(hostile: dict) -> None:
    """G3: huge and negative numbers, NaN, nesting without end, 10 MB of text, missing and unknown entries; the loader then works."""
    taken = ("batch size", "contents 5", "weights 5")  # None: nobody took a digest
    assert [hostile["told"][what] for what in taken] == [None] * 3
    refused = {what: error for what, error in hostile["told"].items() if what not in taken}
    assert len(refused) > 110
    for what, error in refused.items():
        assert error is not None, what
        assert "StateError" in error["kinds"], what
        assert error["seconds"] < 0.5, what
        assert len(error["text"]) < 1000, what
        assert "\x1b" not in error["text"], what
    assert whole(hostile["outcome"])
