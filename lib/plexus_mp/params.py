"""The parameters of a run: checked against what the command declared, and made of its types."""

import math


def coerce(specs, values):
    """The parameters of a run as the handler gets them; raises `ValueError` saying which is wrong.

    An optional one without a default that was not given is left out.
    """
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ValueError("params must be an object")
    for name in values:
        if name not in specs:
            raise ValueError("unknown parameter: %s" % name)
    found = {}
    for name, spec in specs.items():
        value = values.get(name)
        if value is not None:
            found[name] = coerce_value(name, spec, value)
        elif "default" in spec:
            found[name] = spec["default"]
        elif spec["required"]:
            raise ValueError("missing parameter: %s" % name)
    return found


def coerce_value(name, spec, value):
    kind = spec["type"]
    if kind == "string":
        return _coerce_text(name, spec, value)
    if kind == "boolean":
        word = value.strip().lower() if isinstance(value, str) else value
        if isinstance(word, float) or word not in (True, False, "true", "false"):
            raise ValueError("%s must be a boolean" % name)
        return word is True or word == 1 or word == "true"
    number = None if isinstance(value, bool) else _as_number(value, kind == "integer")
    if number is None:
        raise ValueError("%s must be %s" % (name, "an integer" if kind == "integer" else "a finite number"))
    if "minimum" in spec and number < spec["minimum"]:
        raise ValueError("%s must be at least %s" % (name, spec["minimum"]))
    if "maximum" in spec and number > spec["maximum"]:
        raise ValueError("%s must be at most %s" % (name, spec["maximum"]))
    return number


def _as_number(value, whole):
    """`value`, or what it says, as an int if `whole`, else as a float; None when it is none."""
    try:
        if isinstance(value, str):
            if "_" in value:  # what Python takes for a number, and JSON does not
                return None
            value = value.strip()
            return _finite(int(value) if whole else float(value))
        if isinstance(value, (int, float)) and math.isfinite(value):
            if not whole:
                return float(value)
            return int(value) if value == int(value) else None
    except (ValueError, OverflowError):
        pass  # what the caller says of None
    return None


def _finite(number):
    return number if math.isfinite(number) else None


def _coerce_text(name, spec, value):
    if not isinstance(value, str):
        raise ValueError("%s must be a string" % name)
    if len(value) > spec.get("maxLength", len(value)):
        raise ValueError("%s must have at most %d characters" % (name, spec["maxLength"]))
    if "enum" in spec and value not in spec["enum"]:
        raise ValueError("%s must be one of %s" % (name, ", ".join(spec["enum"])))
    return value
