#!/usr/bin/env python3
"""A behaviour that answers what begins with "good", and fails for good at everything else."""

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
        text = json.dumps(line)
        if '"good' in text:
            say({"type": "effects", "id": number, "effects": []})
        else:
            reason = "it is not good" if '"bad' in text else "<img src=x onerror=alert(1)> \u202egnp.exe"
            say({"type": "error", "id": number, "message": reason, "transient": False})
