"""Commands: declarations, the checks of a run in their order, statuses, reconnects, and what must not run twice."""

from . import talks

_DONE = [("acknowledged", None), ("running", None), ("succeeded", None)]


# the checks of a run, in their order; each answer is what the board says


def _busy(talk, valve):
    """A run that waits while another one of its name is asked for."""
    talk.say({"type": "command_run", "run_id": "first", "command": "alone", "params": {}, "ttl_ms": 5000})
    talk.step()
    talk.step()


_EXPIRED = [("failed", "expired_on_arrival")]
_BEGAN = _DONE[:2]
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
    ("expired", None, {"ttl_ms": 0}, _EXPIRED, 0),
    ("long ago", None, {"ttl_ms": -1.5}, _EXPIRED, 0),
    ("expired before busy", _busy, {"command": "alone", "params": {}, "ttl_ms": 0}, _EXPIRED, 1),
    ("busy", _busy, {"command": "alone", "params": {}}, [("failed", "busy")], 1),
    ("a handler that raises", None, {"command": "broken", "params": {}}, _BEGAN + [("failed", "handler_error")], 0),
    ("one that gives up", None, {"command": "stopped", "params": {}}, _BEGAN + [("failed", "cancelled")], 0),
)  # fmt: skip


def test_checks_and_codes():
    for what, before, change, answer, calls in _RUNS:
        with talks.Talk() as talk:
            valve = talks.Valve(talk.commands)
            talk.connect()
            if before is not None:
                before(talk, valve)
            found = {"command": "valve", "params": {"percent": 3}}
            found.update(change)
            said = [each for each in talk.order("run-1", **found) if each["run_id"] == "run-1"]
        assert talks.short(said) == answer, what
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
                valve = talks.Valve(talk.commands)
                talk.connect()
                first = talk.order("r", command, params)[-1]
                if acknowledged:
                    talk.ask(type="command_status_ack", run_id="r", seq=first["seq"])
                again = talk.order("r", command, params, attempt=2)
                assert len(again) == 1 and talk.commands.repeated == 1
                assert talks.short(again) == talks.short([first])
                assert again[0]["seq"] == first["seq"] + acknowledged
                assert ("result" in again[0]) == ("result" in first and not acknowledged)
                assert len(valve.calls) == (command == "valve")
    with talks.Talk() as talk:  # one that is at work
        said = []
        talk.commands.declare("slow", lambda run: said.append(talk.order("r", "slow")))
        talk.connect()
        assert [each["state"] for each in talk.order("r", "slow")] == ["succeeded"]
    assert [each["state"] for each in said[0]] == ["acknowledged", "running", "running"]


# time


def test_it_expires_while_it_waits_and_the_clock_may_turn():
    for start in (1000, (1 << 30) - 2000):
        for waits_ms, state in ((4999, "succeeded"), (5000, "failed"), (90_000, "failed")):
            with talks.Talk(talks.Ticks(start)) as talk:
                valve = talks.Valve(talk.commands)
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
        valve = talks.Valve(talk.commands)
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
        assert talks.short(talk.order("s", "c")) == _DONE


def test_too_many_wait():
    with talks.Talk() as talk:
        talks.Valve(talk.commands)
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


# what must not run twice


def test_a_run_that_began_before_a_reboot_does_not_run_again():
    """Whether it had ended is told when that is known; runs that may run twice do."""
    for ends in (True, False):
        with talks.Clean() as path:
            with talks.Talk(path=path) as talk:
                valve = talks.Valve(talk.commands)
                talk.connect()
                assert talk.hello["remembers_runs"] is True
                if not ends:
                    talk.commands._end = lambda *_: None  # the power goes in the midst of the handler
                talk.order("r1", "once")
                if ends:
                    talk.order("r2", "valve", {"percent": 1})
                assert ("once", "r1") in valve.calls
            with talks.Talk(path=path) as talk:
                valve = talks.Valve(talk.commands)
                assert talk.connect() == [{"type": "command_sync", "runs": []}]
                [said] = talk.order("r1", "once", attempt=2)
                assert valve.calls == []
                assert talks.short([said]) == [("succeeded", None) if ends else ("failed", "duplicate")]
                if not ends:
                    assert "reboot" in said["error_message"]
                    assert talks.short(talk.order("r1", "once", attempt=3)) == [("failed", "duplicate")]
                assert talks.short(talk.order("r2", "valve", {"percent": 1})) == _DONE
                assert talks.short(talk.order("r3", "once")) == _DONE


def test_a_failure_is_remembered_as_such():
    with talks.Clean() as path:
        with talks.Talk(path=path) as talk:
            talk.commands.declare("c", lambda run: 1 / 0)
            talk.connect()
            talk.order("r", "c")
        with talks.Talk(path=path) as talk:
            talk.commands.declare("c", lambda run: 1)
            talk.connect()
            assert talks.short(talk.order("r", "c")) == [("failed", "handler_error")]


def test_without_a_place_to_remember_it_does_not_run():
    with talks.Talk(path="no/such/folder/x") as talk:
        valve = talks.Valve(talk.commands)
        talk.connect()
        last = talk.order("r", "once")[-1]
        assert last["error_code"] == "handler_error" and "cannot be remembered" in last["error_message"]
        assert valve.calls == []
        assert talks.short(talk.order("s", "valve", {"percent": 1})) == _DONE
