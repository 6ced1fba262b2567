"""What commands may be declared, and the parameters that their handlers get."""

from . import gen, talks

_INTEGER = {"type": "integer", "minimum": 1, "maximum": 8}


def test_a_manifest_goes_out_with_device_auth():
    with talks.Talk() as talk:
        talk.commands.declare(
            "valve", len, title="Open valve", danger="dangerous", idempotent=True, expires_in=20.0,
            concurrency="reject", params={
                "percent": dict(_INTEGER, unit="%"), "note": {"type": "string", "default": ""},
            },
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
        assert b"commands" not in talk.session.hello and not talk.session.listening


def test_declared_later_it_is_told_in_a_new_conversation():
    """When what is on its way has been acknowledged."""
    with talks.Talk() as talk:
        talk.commands.declare("a", len)
        talk.connect()
        talk.device.send("n", 1)
        talk.device.recorder.upkeep(True)
        [frame] = talk.run()
        talk.commands.declare("b", len)
        talk.device.send("n", 2)
        talk.device.recorder.upkeep(True)
        assert talk.run() == [] and talk.session.up
        talk.hello = None
        talk.say({"type": "telemetry_ack", "seq": frame["seq"]})
        talk.connect()
        assert [each["name"] for each in talk.hello["commands"]] == ["a", "b"]
        assert talk.link.failures == talk.link.reconnects == 0


def test_declared_again_it_is_the_new_one():
    with talks.Talk() as talk:
        talk.commands.declare("a", lambda run: {"v": 1})
        talk.commands.declare("b", lambda run: {"v": 2})
        talk.commands.declare("a", lambda run: {"v": 3})
        talk.connect()
        assert sorted([each["name"] for each in talk.hello["commands"]]) == ["a", "b"]
        assert talk.order("r", "a")[-1]["result"] == {"v": 3}


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
