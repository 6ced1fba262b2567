"""What commands may be declared. Needed for each declaration, and then given back.

Names, keywords and limits are those of commands protocol 1 (plexus-python 0.16.0): what passes here passes there.
"""

import math

from .params import coerce_value
from .ports import const

_ALLOWED = "abcdefghijklmnopqrstuvwxyz0123456789_"
_NAME_MAX = const(64)
_PARAMS_MAX = const(16)
_ENUM_MAX = const(64)
# Seconds; the server clamps a run's time to live to them.
_EXPIRES_MIN_S = const(5)
_EXPIRES_MAX_S = const(3600)
_NUMERIC = ("minimum", "maximum", "unit")
_KEYWORDS = {"string": ("maxLength", "enum"), "integer": _NUMERIC, "number": _NUMERIC, "boolean": ()}
_COMMON = ("type", "title", "description", "default", "required")
_TEXTS = ("title", "description", "unit")


def check_name(what, name):
    good = isinstance(name, str) and 0 < len(name) <= _NAME_MAX and "a" <= name[0] <= "z"
    if not good or [c for c in name if c not in _ALLOWED]:
        raise ValueError(
            "%s must begin with a-z and have at most 64 of a-z, 0-9 and _, not %r" % (what, name)
        )


def _one_of(what, value, allowed):
    if value not in allowed:
        raise ValueError("%s must be one of %s, not %r" % (what, ", ".join(allowed), value))


def _text(what, value):
    if not isinstance(value, str):
        raise ValueError("%s must be a str, not %r" % (what, value))


def _number(what, value):
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("%s must be a finite number, not %r" % (what, value))


def declaration(name, title, description, params, danger, idempotent, expires_in, concurrency):
    """The entry of the manifest; raises `ValueError` naming field and limit."""
    check_name("command name", name)
    about = "command %s: " % name
    found = {"name": name, "params": _specs(about, params), "danger": danger, "concurrency": concurrency}
    _one_of(about + "danger", danger, ("normal", "dangerous", "critical"))
    _one_of(about + "concurrency", concurrency, ("accept", "reject"))
    if not isinstance(idempotent, bool):
        raise ValueError("%sidempotent must be True or False, not %r" % (about, idempotent))
    _number(about + "expires_in", expires_in)
    if not _EXPIRES_MIN_S <= expires_in <= _EXPIRES_MAX_S:
        raise ValueError("%sexpires_in must be 5 to 3600 seconds, not %r" % (about, expires_in))
    found["idempotent"] = idempotent
    found["expires_in_s"] = expires_in
    for key, text in (("title", title), ("description", description)):
        if text is not None:
            _text(about + key, text)
            found[key] = text
    return found


def _specs(about, params):
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise ValueError("%sparams must be a dict of dicts, not %s" % (about, type(params).__name__))
    if len(params) > _PARAMS_MAX:
        raise ValueError("%sparams has %d entries, the limit is %d" % (about, len(params), _PARAMS_MAX))
    found = {}
    for name, spec in params.items():
        check_name(about + "a parameter", name)
        found[name] = _spec("%sparameter %s: " % (about, name), name, spec)
    return found


def _spec(about, name, spec):
    if not isinstance(spec, dict):
        raise ValueError("%smust be a dict, not %s" % (about, type(spec).__name__))
    kind = spec.get("type", "")
    _one_of(about + "type", kind, sorted(_KEYWORDS))
    allowed = _COMMON + _KEYWORDS[kind]
    for key, value in spec.items():
        if key not in allowed:
            raise ValueError("%s%s does not apply to %s" % (about, key, kind))
        if key in _TEXTS:
            _text(about + key, value)
    _check_limits(about, spec)
    found = dict(spec)
    required = found.setdefault("required", "default" not in spec)
    if not isinstance(required, bool):
        raise ValueError("%srequired must be True or False, not %r" % (about, required))
    if "default" in spec:
        if required:
            raise ValueError("%sa required parameter has no default" % about)
        _check_default(about, name, spec)
    return found


def _check_limits(about, spec):
    for key in ("minimum", "maximum"):
        if key in spec:
            _number(about + key, spec[key])
    if "minimum" in spec and "maximum" in spec and spec["minimum"] > spec["maximum"]:
        raise ValueError("%sminimum %r is above maximum %r" % (about, spec["minimum"], spec["maximum"]))
    if "maxLength" in spec:
        limit = spec["maxLength"]
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise ValueError("%smaxLength must be a whole number above 0, not %r" % (about, limit))
    if "enum" in spec:
        choices = spec["enum"]
        good = isinstance(choices, list) and 0 < len(choices) <= _ENUM_MAX
        if not good or [c for c in choices if not isinstance(c, str)]:
            raise ValueError("%senum must be a list of 1 to %d str" % (about, _ENUM_MAX))


def _check_default(about, name, spec):
    """A default is already of its type: "8" for an integer is a slip."""
    default = spec["default"]
    kinds: dict = {"string": str, "boolean": bool, "integer": int, "number": (int, float)}
    wrong = isinstance(default, bool) and spec["type"] != "boolean"
    if wrong or not isinstance(default, kinds[spec["type"]]):
        raise ValueError("%sdefault must be a %s, not %r" % (about, spec["type"], default))
    try:
        coerce_value(name, spec, default)
    except ValueError as e:
        raise ValueError("%sdefault: %s" % (about, e))
