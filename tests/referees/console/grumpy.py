#!/usr/bin/env python3
"""A behaviour that fails for good at what begins with "bad" or "worse", and does nothing otherwise."""

import json
import sys


def say(line):
    print(json.dumps(line), flush=True)


for line in sys.stdin:
    line = json.loads(line)
    kind, number = line.get("type"), line.get("id")
    if kind == "hello":
        say({"type": "ready", "protocol": 1})
    elif kind == "event":
        text = line["event"].get("message", {}).get("text", "")
        if text.startswith("bad"):
            say({"type": "error", "id": number, "message": "it is not good", "transient": False})
        elif text.startswith("worse"):
            reason = "<img src=x onerror=alert(1)> \u202egnp.exe"
            say({"type": "error", "id": number, "message": reason, "transient": False})
        else:
            say({"type": "effects", "id": number, "effects": []})
