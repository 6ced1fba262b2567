"""Statuses of runs: held until they are acknowledged, bounded, and their results."""

import json

from . import talks

_DONE = [("acknowledged", None), ("running", None), ("succeeded", None)]


def test_what_nobody_acknowledged_is_said_again_in_order():
    with talks.Talk() as talk:
        talks.Valve(talk.commands)
        assert talk.connect() == [{"type": "command_sync", "runs": []}]
        first = talk.order("r1", "valve", {"percent": 1})
        second = talk.order("r2", "valve", {"percent": 2})
        talk.ask(type="command_status_ack", run_id="r1", seq=2)
        for _ in range(2):
            talk.drop()
            said = talk.connect()
            sync = said.pop(0)
            assert sync["type"] == "command_sync"
            assert sync["runs"] == [{"run_id": r, "state": "succeeded", "seq": 3} for r in ("r1", "r2")]
            assert said == first[2:] + second
        for run_id in ("r1", "r2"):
            talk.ask(type="command_status_ack", run_id=run_id, seq=3)
        talk.drop()
        assert talk.connect() == [{"type": "command_sync", "runs": []}]


def test_acknowledgements_of_nothing_are_ignored():
    with talks.Talk() as talk:
        talks.Valve(talk.commands)
        talk.connect()
        talk.order("r", "valve", {"percent": 1})
        for wrong in (
            {"run_id": "x", "seq": 9},
            {"run_id": "r", "seq": "3"},
            {"run_id": "r"},
            {"seq": 3},
            {"run_id": "r", "seq": 0},
        ):
            talk.ask(type="command_status_ack", **wrong)
        talk.drop()
        assert len(talk.connect()) == 4


def test_a_run_that_ends_while_the_connection_is_down():
    def handler(run):
        run.progress(10)
        talk.lose()
        run.progress(100)
        return {"done": True}

    with talks.Talk() as talk:
        talk.commands.declare("c", handler)
        talk.connect()
        talk.order("r", "c")
        talk.link.retry_now()
        said = talk.connect()
    assert said[0] == {
        "type": "command_sync",
        "runs": [{"run_id": "r", "state": "succeeded", "seq": 4}],
    }  # one was progress
    assert [each["state"] for each in said[1:]] == ["acknowledged", "running", "succeeded"]
    assert said[-1]["result"] == {"done": True}


def test_statuses_have_bounds():
    with talks.Talk() as talk:
        talks.Valve(talk.commands)
        talk.connect()
        for n in range(110):  # each three statuses of about 70 bytes
            talk.order("run-%03d" % n, "valve", {"percent": 1})
        assert talk.commands.dropped > 0
        talk.drop()
        said = [each for each in talk.connect() + talk.run(400) if each["type"] == "command_status"]
        assert said[-1]["run_id"] == "run-109" and "result" in said[-1] and "result" not in said[0]
        assert len(said) == 330 - talk.commands.dropped <= 256
        size = sum([len(json.dumps(each)) for each in said])
        assert size < 11_000, size


def test_many_runs_make_several_frames_of_a_sync():
    with talks.Talk() as talk:
        talks.Valve(talk.commands)
        talk.connect()
        for n in range(30):
            talk.order("%036d" % n, "pump")
        talk.drop()
        syncs = [each for each in talk.connect() if each["type"] == "command_sync"]
        assert len(syncs) > 1
        assert [run["run_id"] for sync in syncs for run in sync["runs"]] == ["%036d" % n for n in range(30)]


# results


class _Odd:
    def __repr__(self):
        return "<odd>"


def test_results():
    """What JSON cannot carry is described, what does not fit is left out, and costs only its run."""
    for value, result in (
        (None, {}), (5, {"value": 5}), ("x", {"value": "x"}), ([1, None], {"value": [1, None]}),
        ({"a": {"b": 1.5}}, {"a": {"b": 1.5}}),
        (_Odd(), {"value": "{'value': <odd>}"}), ({"a": _Odd()}, {"value": "{'a': <odd>}"}),
        ({1: 2}, {"value": "{1: 2}"}),
    ):  # fmt: skip
        with talks.Talk() as talk:
            talk.commands.declare("c", lambda run: value)
            talk.connect()
            last = talk.order("r", "c")[-1]
            assert last["state"] == "succeeded" and last["result"] == result, last
    for value in (float("nan"), {"a": [float("inf")]}, b"bytes"):
        with talks.Talk() as talk:
            talk.commands.declare("c", lambda run: value)
            talk.connect()
            last = talk.order("r", "c")[-1]
            assert last["state"] == "succeeded" and list(last["result"]) == ["value"], last


def test_a_result_that_fits_into_no_frame():
    with talks.Talk(frame=700) as talk:
        talk.commands.declare("c", lambda run: {"a": "x" * 700})
        talk.connect()
        last = talk.order("r", "c")[-1]
        assert last["state"] == "succeeded" and "result" not in last and "left out" in last["message"]
        assert talk.order("s", "c")[-1]["state"] == "succeeded"


def test_a_run_too_long_to_receive_fails_and_the_connection_stays():
    with talks.Talk(frame=700) as talk:
        talks.Valve(talk.commands)
        talk.connect()
        text = b'{"type":"command_run","run_id":"r","command":"valve","params":{"x":"%s"}}'.replace(
            b"%s", b"y" * 3000
        )
        [said] = talk.say(text, True)
        assert (said["error_code"], said["run_id"]) == ("bad_params", "r") and "686 bytes" in said[
            "error_message"
        ]
        assert len(talk.say(text, True)) == 1 and talk.commands.repeated == 1
        for other in (
            b'{"type":"typed_command","id":"' + b"i" * 3000 + b'"}',
            b'{"type":"command_run","run_id":"' + b"i" * 3000,
        ):
            assert talk.say(other, True) == []
        assert talk.commands.ignored == 2
        assert talks.short(talk.order("s", "valve", {"percent": 1})) == _DONE
        long = "n" * 500
        assert "unknown" in talk.order("t", long)[-1]["error_message"]
