"""Frames about commands: of the older protocol, refusals, and such as make no sense."""

from . import gen, talks


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
            talks.Valve(talk.commands)
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
        valve = talks.Valve(talk.commands)
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


_WORDS = (
    None,
    True,
    0,
    -1,
    7,
    1.5,
    1e300,
    "",
    "r1",
    "valve",
    "once",
    "x" * 300,
    [],
    [1],
    {},
    {"percent": 3},
    {"percent": []},
)
_KINDS = ("command_run", "command_status_ack", "typed_command", "command_run", "other")
_FIELDS = ("run_id", "id", "command", "params", "ttl_ms", "attempt", "seq")


def test_frames_of_no_sense():
    """Whatever they hold, the connection stays, and what is said can be read."""
    g = gen.Gen(7)
    with talks.Talk() as talk:
        talks.Valve(talk.commands)
        talk.commands.declare_legacy("valve", lambda name, params: params, "accept")
        talk.connect()
        for _ in range(300):
            message = {"type": g.pick(_KINDS)}
            for field in _FIELDS:
                if g.below(3):
                    message[field] = g.pick(_WORDS)
            talk.say(message, True)
            assert talk.session.up
        assert talk.commands.ignored > 50 and talk.commands.repeated > 5


def test_half_a_character_is_ignored():
    with talks.Talk() as talk:
        talks.Valve(talk.commands)
        talk.connect()
        for text in (
            b'{"type":"command_run","run_id":"\\ud800","command":"valve","params":{"percent":1}}',
            b'{"type":"command_run","run_id":"r","command":"\\ud800"}',
        ):
            talk.say(text)
            for _ in range(9):
                talk.step()
        assert talk.session.up


def test_json_that_is_nested_too_deep_ends_the_conversation_only():
    with talks.Talk(frame=8000) as talk:
        talks.Valve(talk.commands)
        talk.connect()
        talk.say(b'{"type":"x","p":' + b"[" * 7000 + b"]" * 900 + b"}")
        for _ in range(9):
            talk.step()
        assert not talk.session.up and talk.link.failures == 1


def test_ids_as_long_as_a_frame():
    with talks.Talk(frame=700) as talk:
        talks.Valve(talk.commands)
        talk.connect()
        for run_id in ("\u00e4" * 90, "\u20ac" * 110, "x" * 256):
            talk.order(run_id, "valve", {"percent": 1})
            talk.order(run_id, "pump")
            assert talk.session.up
        talk.drop()
        said = talk.connect() + talk.run(200)
        assert talk.session.up and {each["run_id"] for each in said if "run_id" in each} >= {"x" * 256}


def test_a_new_name_begins_no_conversation_and_holds_none_up():
    old, new = b'"source_id":"test-1"', b'"source_id":"test-1_2"'
    with talks.Talk() as talk:
        talk.commands.declare("early", lambda run: None, idempotent=True)
        talk.connect()
        talk.hello = None
        talk.session.rename(old, new)
        talk.run()
        assert talk.hello is None, "the gateway knows it: it gave the name"
        talk.commands.declare("late", lambda run: None, idempotent=True)
        talk.session.rename(new, old)  # before what was declared is told
        talk.session.rename(old, new)
        talk.connect()
        assert talk.hello["source_id"] == "test-1_2"
        assert [command["name"] for command in talk.hello["commands"]] == ["early", "late"]
