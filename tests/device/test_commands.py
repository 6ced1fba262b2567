"""Commands: declarations, the checks of a run in their order, statuses, reconnects, and what must not run twice."""

import json
import os

from plexus_mp import runbook
from plexus_mp.runbook import Runbook, key_of

from . import gen, talks

_FILE = "plexus-test.runs"
_INTEGER = {"type": "integer", "minimum": 1, "maximum": 8}


class _Valve:
    """Handlers, and what they were called with."""

    def __init__(self, commands):
        self.calls = []
        self.commands = commands
        declare = commands.declare
        declare("valve", self.valve, params={"percent": _INTEGER}, idempotent=True)
        declare("alone", self.alone, concurrency="reject", idempotent=True)
        declare("broken", self.broken, idempotent=True)
        declare("stopped", self.stopped, idempotent=True)
        declare("once", self.once)

    def valve(self, run, percent):
        self.calls.append(("valve", percent))
        return {"percent": percent}

    def alone(self, run):
        self.calls.append(("alone", run.id))

    def broken(self, run):
        raise OSError(5, "no pump")

    def stopped(self, run):
        raise run.Cancelled("by hand")

    def once(self, run):
        self.calls.append(("once", run.id))
        return {"n": len(self.calls)}


class _Clean:
    """In a `with` block there is no file, and none after it."""

    def __enter__(self):
        self.__exit__()
        return _FILE

    def __exit__(self, *_):
        for path in (_FILE, _FILE + ".new"):
            try:
                os.remove(path)
            except OSError:
                continue


def _short(statuses):
    """(state, error_code) of each status, in order."""
    return [(each["state"], each.get("error_code")) for each in statuses]


_DONE = [("acknowledged", None), ("running", None), ("succeeded", None)]


# declarations


def test_a_manifest_goes_out_with_device_auth():
    with talks.Talk() as talk:
        talk.commands.declare(
            "valve", len, title="Open valve", danger="dangerous", idempotent=True, expires_in=20.0,
            concurrency="reject", params={"percent": dict(_INTEGER, unit="%"), "note": {"type": "string", "default": ""}},
        )  # fmt: skip
        talk.connect()
    [entry] = talk.hello["commands"]
    assert entry == {
        "name": "valve",
        "title": "Open valve",
        "danger": "dangerous",
        "idempotent": True,
        "expires_in_s": 20.0,
        "concurrency": "reject",
        "params": {
            "percent": {"type": "integer", "minimum": 1, "maximum": 8, "unit": "%", "required": True},
            "note": {"type": "string", "default": "", "required": False},
        },
    }
    assert talk.hello["api_key"] == "plx_x" and "remembers_runs" not in talk.hello


_BAD = (
    ({"name": ""}, "command name"),
    ({"name": "Valve"}, "command name"),
    ({"name": "a" * 65}, "64"),
    ({"name": "a-b"}, "command name"),
    ({"name": None}, "command name"),
    ({"danger": "lethal"}, "danger"),
    ({"danger": ["normal"]}, "danger"),
    ({"concurrency": "queue"}, "concurrency"),
    ({"idempotent": 1}, "idempotent"),
    ({"expires_in": 4.9}, "expires_in"),
    ({"expires_in": 3601}, "3600"),
    ({"expires_in": "30"}, "expires_in"),
    ({"expires_in": True}, "expires_in"),
    ({"title": 5}, "title"),
    ({"description": b"x"}, "description"),
    ({"handler": "f"}, "handler"),
    ({"params": []}, "params"),
    ({"params": {"p%d" % i: {"type": "boolean"} for i in range(17)}}, "limit is 16"),
    ({"params": {"P": {"type": "boolean"}}}, "parameter"),
    ({"params": {"p": "integer"}}, "parameter p"),
    ({"params": {"p": {}}}, "type"),
    ({"params": {"p": {"type": "object"}}}, "type"),
    ({"params": {"p": {"type": "string", "minimum": 1}}}, "minimum does not apply to string"),
    ({"params": {"p": {"type": "integer", "maxLength": 1}}}, "maxLength"),
    ({"params": {"p": {"type": "boolean", "unit": "s"}}}, "unit"),
    ({"params": {"p": {"type": "integer", "step": 2}}}, "step"),
    ({"params": {"p": {"type": "integer", "minimum": "1"}}}, "minimum"),
    ({"params": {"p": {"type": "integer", "minimum": 5, "maximum": 4}}}, "above maximum"),
    ({"params": {"p": {"type": "string", "maxLength": 0}}}, "maxLength"),
    ({"params": {"p": {"type": "string", "enum": []}}}, "enum"),
    ({"params": {"p": {"type": "string", "enum": ["x"] * 65}}}, "64"),
    ({"params": {"p": {"type": "string", "enum": [1]}}}, "enum"),
    ({"params": {"p": {"type": "string", "required": 1}}}, "required"),
    ({"params": {"p": {"type": "string", "title": 1}}}, "title"),
    ({"params": {"p": {"type": "integer", "required": True, "default": 1}}}, "required"),
    ({"params": {"p": {"type": "integer", "default": "8"}}}, "default"),
    ({"params": {"p": {"type": "number", "default": True}}}, "default"),
    ({"params": {"p": {"type": "integer", "maximum": 4, "default": 5}}}, "at most 4"),
    ({"params": {"p": {"type": "string", "enum": ["a"], "default": "b"}}}, "one of a"),
    ({"description": "x" * 900}, "frame_bytes"),
)


def test_declarations_that_cannot_be():
    with talks.Talk() as talk:
        for change, word in _BAD:
            found = dict(name="valve", handler=len)
            found.update(change)
            error = gen.raises(ValueError, lambda: talk.commands.declare(**found))
            assert word in str(error), (change, str(error))
        for declare in (
            lambda: talk.commands.declare_legacy("x", None, "accept"),
            lambda: talk.commands.declare_legacy("x", len, "queue"),
        ):
            gen.raises(ValueError, declare)
        talk.connect()
        assert "commands" not in talk.hello


def test_declared_again_it_is_the_new_one():
    with talks.Talk() as talk:
        talk.commands.declare("a", lambda run: {"v": 1})
        talk.commands.declare("b", lambda run: {"v": 2})
        talk.commands.declare("a", lambda run: {"v": 3})
        talk.connect()
        assert sorted([each["name"] for each in talk.hello["commands"]]) == ["a", "b"]
        assert talk.order("r", "a")[-1]["result"] == {"v": 3}


# the checks of a run, in their order; each answer is what the board says


def _busy(talk, valve):
    """A run that waits while another one of its name is asked for."""
    talk.say({"type": "command_run", "run_id": "first", "command": "alone", "params": {}, "ttl_ms": 5000})
    talk.step()
    talk.step()


_RUNS = (
    # how it comes, what is different in the frame, the states and codes of the answer, calls of handlers
    ("a good one", None, {}, _DONE, 1),
    ("its number as text", None, {"params": {"percent": "8"}}, _DONE, 1),
    ("no time to live", None, {"ttl_ms": None}, _DONE, 1),
    ("of an unknown name", None, {"command": "pump"}, [("failed", "unknown_command")], 0),
    ("of a name that is none", None, {"command": ["valve"]}, [("failed", "unknown_command")], 0),
    ("unknown before bad params", None, {"command": "x", "params": {"y": 1}}, [("failed", "unknown_command")], 0),
    ("too much", None, {"params": {"percent": 9}}, [("failed", "bad_params")], 0),
    ("nothing given", None, {"params": {}}, [("failed", "bad_params")], 0),
    ("a list", None, {"params": [1]}, [("failed", "bad_params")], 0),
    ("one too many", None, {"params": {"percent": 1, "speed": 2}}, [("failed", "bad_params")], 0),
    ("bad params before expired", None, {"params": {}, "ttl_ms": 0}, [("failed", "bad_params")], 0),
    ("expired", None, {"ttl_ms": 0}, [("failed", "expired_on_arrival")], 0),
    ("long ago", None, {"ttl_ms": -1.5}, [("failed", "expired_on_arrival")], 0),
    ("expired before busy", _busy, {"command": "alone", "params": {}, "ttl_ms": 0}, [("failed", "expired_on_arrival")], 1),
    ("busy", _busy, {"command": "alone", "params": {}}, [("failed", "busy")], 1),
    ("a handler that raises", None, {"command": "broken", "params": {}}, _DONE[:2] + [("failed", "handler_error")], 0),
    ("one that gives up", None, {"command": "stopped", "params": {}}, _DONE[:2] + [("failed", "cancelled")], 0),
)  # fmt: skip


def test_checks_and_codes():
    for what, before, change, answer, calls in _RUNS:
        with talks.Talk() as talk:
            valve = _Valve(talk.commands)
            talk.connect()
            if before is not None:
                before(talk, valve)
            found = {"command": "valve", "params": {"percent": 3}}
            found.update(change)
            said = [each for each in talk.order("run-1", **found) if each["run_id"] == "run-1"]
        assert _short(said) == answer, what
        assert [each["seq"] for each in said] == list(range(1, len(answer) + 1)), what
        assert len(valve.calls) == calls, what
        last = said[-1]
        assert last["type"] == "command_status" and ("error_message" in last) == (
            last["state"] == "failed"
        ), what


def test_duplicates_are_reported_again_and_not_run():
    """By the state that was sent, with what came of it as long as nobody acknowledged that."""
    for acknowledged in (False, True):
        for command, params in (("valve", {"percent": 2}), ("broken", {}), ("pump", {})):
            with talks.Talk() as talk:
                valve = _Valve(talk.commands)
                talk.connect()
                first = talk.order("r", command, params)[-1]
                if acknowledged:
                    talk.ask(type="command_status_ack", run_id="r", seq=first["seq"])
                again = talk.order("r", command, params, attempt=2)
                assert len(again) == 1 and talk.commands.repeated == 1
                assert _short(again) == _short([first])
                assert again[0]["seq"] == first["seq"] + acknowledged
                assert ("result" in again[0]) == ("result" in first and not acknowledged)
                assert len(valve.calls) == (command == "valve")
    with talks.Talk() as talk:  # one that is at work
        said = []
        talk.commands.declare("slow", lambda run: said.append(talk.order("r", "slow")))
        talk.connect()
        assert [each["state"] for each in talk.order("r", "slow")] == ["succeeded"]
    assert [each["state"] for each in said[0]] == ["acknowledged", "running"]


def test_params_as_the_handler_gets_them():
    number = {"type": "number", "minimum": -1, "maximum": 1e6}
    text = {"type": "string", "maxLength": 3}
    choice = {"type": "string", "enum": ["on", "off"]}
    whole = {"type": "integer"}
    for spec, value, expected in (
        (whole, 8, 8), (whole, "8", 8), (whole, " -8 ", -8), (whole, 8.0, 8), (whole, 8.5, None), (whole, "8.0", None),
        (whole, "eight", None), (whole, True, None), (whole, "1_0", None), (whole, [], None), (whole, "", None),
        (number, 3, 3.0), (number, "2.5", 2.5), (number, "1e2", 100.0), (number, "nan", None), (number, "inf", None),
        (number, -1.5, None), (number, 2e6, None), (number, False, None), (number, {}, None),
        ({"type": "boolean"}, True, True), ({"type": "boolean"}, "False", False), ({"type": "boolean"}, 1, True),
        ({"type": "boolean"}, 0, False), ({"type": "boolean"}, 2, None), ({"type": "boolean"}, "yes", None),
        ({"type": "boolean"}, 1.0, None), ({"type": "boolean"}, [], None),
        (text, "abc", "abc"), (text, "abcd", None), (text, 5, None), (text, "\u00e4\u00f6\u00fc", "\u00e4\u00f6\u00fc"),
        (choice, "on", "on"), (choice, "ON", None),
    ):  # fmt: skip
        got = []
        with talks.Talk() as talk:
            talk.commands.declare("c", lambda run, p: got.append(p), params={"p": spec})
            talk.connect()
            last = talk.order("r", "c", {"p": value})[-1]
        if expected is None:
            assert not got and last["error_code"] == "bad_params", (spec, value)
        else:
            assert got == [expected] and type(got[0]) is type(expected), (spec, value, got)


def test_defaults_and_what_may_be_left_out():
    got = []
    params = {
        "a": {"type": "integer", "default": 5},
        "b": {"type": "string", "required": False},
        "c": {"type": "boolean"},
    }
    with talks.Talk() as talk:
        talk.commands.declare("c", lambda run, **named: got.append(named), params=params)
        talk.connect()
        talk.order("1", "c", {"c": True})
        talk.order("2", "c", {"a": None, "b": "x", "c": False})
        assert "missing parameter: c" in talk.order("3", "c", {"a": 1, "c": None})[-1]["error_message"]
    assert got == [{"a": 5, "c": True}, {"a": 5, "b": "x", "c": False}]


# time


def test_it_expires_while_it_waits_and_the_clock_may_turn():
    for start in (1000, (1 << 30) - 2000):
        for waits_ms, state in ((4999, "succeeded"), (5000, "failed"), (90_000, "failed")):
            with talks.Talk(talks.Ticks(start)) as talk:
                valve = _Valve(talk.commands)
                talk.connect()
                talk.say(
                    {
                        "type": "command_run",
                        "run_id": "r",
                        "command": "valve",
                        "params": {"percent": 1},
                        "ttl_ms": 5000,
                    }
                )
                for _ in range(5):
                    talk.step()
                for _ in range(waits_ms // 5000):
                    talk.ticks.advance(5000)
                    talk.step()
                talk.ticks.advance(waits_ms % 5000)
                last = talk.run()[-1]
                assert last["state"] == state and len(valve.calls) == (state == "succeeded")
                assert state == "succeeded" or last["error_code"] == "expired_on_arrival"


def test_time_remaining():
    left = []

    def handler(run):
        left.append(run.time_remaining)
        for ms in (1500, 3500, 1 << 28, 1 << 28, 1 << 28):
            talk.ticks.advance(ms)
            left.append(run.time_remaining)
        return {"attempt": run.attempt, "id": run.id, "cancel": run.cancel_requested}

    with talks.Talk() as talk:
        talk.commands.declare("c", handler)
        talk.connect()
        last = talk.order("r", "c", attempt=3)[-1]
        assert left == [5, 3.5, 0, 0, 0, 0]
        assert last["result"] == {"attempt": 3, "id": "r", "cancel": False}
        del left[:]
        talk.order("s", "c", ttl_ms="soon")
        assert left == [None] * 6


def test_progress_once_a_second_and_100_always():
    def handler(run):
        for percent in range(0, 101, 5):
            run.progress(percent, "at %d" % percent)
            talk.ticks.advance(300)
        run.progress(250)
        run.progress(-3)

    with talks.Talk() as talk:
        talk.commands.declare("c", handler)
        talk.connect()
        said = talk.order("r", "c")
    progress = [each["progress"] for each in said if each["state"] == "progress"]
    assert progress == [0, 20, 40, 60, 80, 100, 100]
    assert [each["seq"] for each in said] == list(range(1, 11)) and said[-1]["state"] == "succeeded"
    assert said[2]["message"] == "at 0"


# statuses until they are acknowledged


def test_what_nobody_acknowledged_is_said_again_in_order():
    with talks.Talk() as talk:
        _Valve(talk.commands)
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
        _Valve(talk.commands)
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
        _Valve(talk.commands)
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
        _Valve(talk.commands)
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
        (None, {}), (5, {"value": 5}), ("x", {"value": "x"}), ([1, None], {"value": [1, None]}), ({"a": {"b": 1.5}}, {"a": {"b": 1.5}}),
        (_Odd(), {"value": "{'value': <odd>}"}), ({"a": _Odd()}, {"value": "{'a': <odd>}"}), ({1: 2}, {"value": "{1: 2}"}),
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
        _Valve(talk.commands)
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
        assert _short(talk.order("s", "valve", {"percent": 1})) == _DONE
        long = "n" * 500
        assert "unknown" in talk.order("t", long)[-1]["error_message"]


# where handlers run


def test_handlers_run_outside_of_the_tick_and_one_at_a_time():
    order = []

    def outer(run):
        order.append("outer begins")
        talk.order("second", "inner")  # ticks, and asks for handlers, from within
        order.append("outer ends")

    with talks.Talk() as talk:
        talk.commands.declare("outer", outer)
        talk.commands.declare("inner", lambda run: order.append("inner"))
        talk.connect()
        talk.say({"type": "command_run", "run_id": "first", "command": "outer", "ttl_ms": 5000})
        for _ in range(9):
            talk.step()
        assert order == []
        talk.run()
        assert order == ["outer begins", "outer ends", "inner"]


def test_the_timer_leaves_them_to_a_program_that_calls_and_to_no_send():
    with talks.Talk() as talk:
        valve = _Valve(talk.commands)
        talk.connect()

        def ask(run_id):
            talk.say({"type": "command_run", "run_id": run_id, "command": "valve", "params": {"percent": 1}})
            for _ in range(5):
                talk.step()

        ask("a")
        talk.commands.run_due(True)
        assert valve.calls == []  # the program called a moment ago
        talk.ticks.advance(1000)
        recorder = talk.device.recorder
        recorder.apart(talk.commands.run_due, True)
        assert valve.calls == []  # in the midst of what send() does
        talk.commands.run_due(True)
        assert len(valve.calls) == 1
        ask("b")
        talk.commands.run_due(True)
        assert len(valve.calls) == 2


def test_a_handler_may_send():
    def handler(run):
        for n in range(20):
            assert talk.device.send("n", n)

    with talks.Talk() as talk:
        talk.commands.declare("c", handler)
        talk.connect()
        said = talk.order("r", "c")
        points = [p["value"] for each in said if each["type"] == "telemetry" for p in each["points"]]
        assert points == list(range(20))


def test_an_interrupted_handler_is_over():
    def handler(run):
        if run.id == "r":
            raise KeyboardInterrupt

    with talks.Talk() as talk:
        talk.commands.declare("c", handler, concurrency="reject")
        talk.connect()
        talk.say({"type": "command_run", "run_id": "r", "command": "c"})
        try:
            talk.run()
            raise AssertionError("it was swallowed")
        except KeyboardInterrupt:
            pass  # it is the program's to decide
        assert talk.run()[-1]["error_code"] == "handler_error"
        assert _short(talk.order("s", "c")) == _DONE


def test_too_many_wait():
    with talks.Talk() as talk:
        _Valve(talk.commands)
        talk.connect()
        for n in range(10):
            talk.say(
                {"type": "command_run", "run_id": "r%d" % n, "command": "valve", "params": {"percent": 1}}
            )
            for _ in range(4):
                talk.step()
        said = talk.run(80)
        assert [each["run_id"] for each in said if each.get("error_code") == "busy"] == ["r8", "r9"]
        assert len([each for each in said if each["state"] == "succeeded"]) == 8


# the older protocol


def test_typed_commands():
    got = []

    def rate(name, params):
        got.append((name, params))
        if params.get("hz") == 0:
            raise ValueError("hz is 0")
        return {"hz": params.get("hz")}

    with talks.Talk() as talk:
        talk.commands.declare_legacy("set_rate", rate, "accept")
        assert talk.connect() == []  # no protocol 1 without a declaration of it
        assert "commands" not in talk.hello
        head = {"type": "command_result", "id": "u-1", "command": "set_rate"}
        ask = {"type": "typed_command", "id": "u-1", "command": "set_rate"}
        ack = dict(head, event="ack")
        assert talk.ask(params={"hz": 2}, **ask) == [ack, dict(head, event="result", result={"hz": 2})]
        assert talk.ask(params={"hz": 0}, **ask) == [ack, dict(head, event="error", error="hz is 0")]
        assert talk.ask(**ask)[-1]["result"] == {"hz": None}
        ask["command"] = head["command"] = "stop"
        error = dict(head, event="error", error="unknown command: stop")
        assert talk.ask(**ask) == [dict(head, event="ack"), error]
        for wrong in ({"id": 5}, {"command": None}, {"id": "x" * 300}):
            assert talk.say(dict(ask, **wrong), True) == []
        assert talk.commands.ignored == 3 and len(got) == 3
        talk.drop()
        assert talk.connect() == []  # nothing of it is said again


# what a gateway may refuse


def test_not_permitted_is_said_once_and_the_connection_stays():
    for early in (True, False):
        with talks.Talk() as talk:
            _Valve(talk.commands)
            error = {"type": "error", "code": "commands_not_permitted", "detail": "key"}
            if early:
                talk.run(6)
                talk.say(error)
            talk.connect()
            talk.ask(**error)
            assert talk.session.up and not talk.commands.permitted
            assert talk.link.last_error == "commands_not_permitted key"


def test_frames_that_are_none():
    with talks.Talk() as talk:
        valve = _Valve(talk.commands)
        talk.connect()
        for wrong in (
            {"type": "command_run"},
            {"type": "command_run", "run_id": 5},
            {"type": "command_run", "run_id": ""},
            {"type": "command_run", "run_id": "x" * 257, "command": "valve"},
            {"type": "dance"},
        ):
            assert talk.say(wrong, True) == []
        assert talk.commands.ignored == 5 and talk.session.up and not valve.calls


# what must not run twice


def test_a_run_that_began_before_a_reboot_does_not_run_again():
    """Whether it had ended is told when that is known; runs that may run twice do."""
    for ends in (True, False):
        with _Clean() as path:
            with talks.Talk(path=path) as talk:
                valve = _Valve(talk.commands)
                talk.connect()
                assert talk.hello["remembers_runs"] is True
                if not ends:
                    talk.commands._end = lambda *_: None  # the power goes in the midst of the handler
                talk.order("r1", "once")
                if ends:
                    talk.order("r2", "valve", {"percent": 1})
                assert ("once", "r1") in valve.calls
            with talks.Talk(path=path) as talk:
                valve = _Valve(talk.commands)
                assert talk.connect() == [{"type": "command_sync", "runs": []}]
                [said] = talk.order("r1", "once", attempt=2)
                assert valve.calls == []
                assert _short([said]) == [("succeeded", None) if ends else ("failed", "duplicate")]
                if not ends:
                    assert "reboot" in said["error_message"]
                    assert _short(talk.order("r1", "once", attempt=3)) == [("failed", "duplicate")]
                assert _short(talk.order("r2", "valve", {"percent": 1})) == _DONE
                assert _short(talk.order("r3", "once")) == _DONE


def test_a_failure_is_remembered_as_such():
    with _Clean() as path:
        with talks.Talk(path=path) as talk:
            talk.commands.declare("c", lambda run: 1 / 0)
            talk.connect()
            talk.order("r", "c")
        with talks.Talk(path=path) as talk:
            talk.commands.declare("c", lambda run: 1)
            talk.connect()
            assert _short(talk.order("r", "c")) == [("failed", "handler_error")]


def test_without_a_place_to_remember_it_does_not_run():
    with talks.Talk(path="no/such/folder/x") as talk:
        valve = _Valve(talk.commands)
        talk.connect()
        last = talk.order("r", "once")[-1]
        assert last["error_code"] == "handler_error" and "cannot be remembered" in last["error_message"]
        assert valve.calls == []
        assert _short(talk.order("s", "valve", {"percent": 1})) == _DONE


def _keys(first, last):
    return [key_of("run-%d" % n) for n in range(first, last)]


def test_the_last_256_are_remembered():
    book = Runbook("")
    for key in _keys(0, 300):
        book.set(book.add(key), 3, 70_000)
    assert [book.find(key) >= 0 for key in _keys(0, 300)] == [False] * 44 + [True] * 256
    assert book.get(book.find(key_of("run-299"))) == (3, 65_535)
    assert len(book._table) == 256 * 11


def test_a_key_across_two_entries_is_no_key():
    book = Runbook("")
    book.add(b"ABCDEFGH", 1)
    book.add(b"ijklmnop", 2)
    across = bytes(book._table[5:13])
    assert book.find(across) == -1
    book.add(across, 3)
    assert book.get(book.find(across)) == (3, 0)


def test_the_file_is_bounded_and_keeps_the_last():
    with _Clean() as path:
        book = Runbook(path)
        for n in range(1000):
            book.write(key_of("run-%d" % n), 2)
            if n % 3:
                book.write(key_of("run-%d" % n), 3)
            assert os.stat(path)[6] <= 768 * 12
        book = Runbook(path)
        states = [book.get(book.find(key))[0] for key in _keys(744, 1000)]
        assert states == [3 if n % 3 else 2 for n in range(744, 1000)]


def _prefixes(path):
    with open(path, "rb") as f:
        return f.read()


def test_torn_records_cost_only_themselves():
    with _Clean() as path:
        book = Runbook(path)
        for key in _keys(0, 3):
            book.write(key, 2)
        whole = _prefixes(path)
        for cut in range(len(whole)):
            with open(path, "wb") as f:
                f.write(whole[:cut])
            book = Runbook(path)
            assert [book.find(key) >= 0 for key in _keys(0, 3)] == [n < cut // 12 for n in range(3)]
            book.write(key_of("run-9"), 2)  # and what comes behind it is found
            assert Runbook(path).find(key_of("run-9")) >= 0
        for at in range(12, 24):
            with open(path, "wb") as f:
                f.write(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
            book = Runbook(path)
            assert [book.find(key) >= 0 for key in _keys(0, 3)] == [True, False, True]


class _Os:
    """A filesystem where the power goes at step `dies_at` of putting a file in another's place, and FAT if `fat`."""

    def __init__(self, dies_at, fat):
        self.left = dies_at
        self.fat = fat

    def _step(self):
        self.left -= 1
        if self.left < 0:
            raise SystemExit

    def remove(self, path):
        self._step()
        os.remove(path)

    def rename(self, old, new):
        if self.fat:
            try:
                os.stat(new)
            except OSError:
                pass  # nothing to replace
            else:
                raise OSError(17)
        self._step()
        os.rename(old, new)


def test_a_cut_while_the_file_is_shortened():
    for fat in (False, True):
        for dies_at in range(3):
            with _Clean() as path:
                book = Runbook(path)
                for key in _keys(0, 768):
                    book.write(key, 2)
                system = _Os(dies_at, fat)
                before = runbook.os
                runbook.os = system
                try:
                    book.write(key_of("run-768"), 2)
                except SystemExit:
                    assert dies_at < 1 + fat
                finally:
                    runbook.os = before
                book = Runbook(path)
                assert all([book.find(key) >= 0 for key in _keys(520, 768)]), (fat, dies_at)
