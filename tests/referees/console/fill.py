#!/usr/bin/env python3
"""Writes handled messages into a store that nothing has open: copies of one, to all agents in turn.

They are of the past, so no promise depends on them. The last id that was given moves behind them.
"""

import json
import os
import sqlite3
import sys

path, count = sys.argv[1], int(sys.argv[2])
db = sqlite3.connect(path)
db.execute("PRAGMA synchronous = off")
columns = [row[1] for row in db.execute("PRAGMA table_info(inbox)")]
model = dict(zip(columns, db.execute("SELECT * FROM inbox ORDER BY id DESC LIMIT 1").fetchone()))
agents = [row[0] for row in db.execute("SELECT id FROM agent ORDER BY id")]
ids = json.loads(db.execute("SELECT value FROM meta WHERE key = 'ids'").fetchone()[0])
print("ids", ids)
last = db.execute("SELECT max(id) FROM inbox").fetchone()[0]


def made(number):
    digest = os.urandom(32)
    row = dict(model, id=last + number, agent=agents[number % len(agents)], digest=digest, hash=os.urandom(32))
    row.update(state="handled", seq=(last + number) << 20, attempts=0, due_at=0, reason=None, identity=digest.hex())
    row.update(re=None, thread=None, settled_at=model["seen_at"])
    return [row[column] for column in columns]


marks = ", ".join("?" * len(columns))
with db:
    db.executemany(f"INSERT INTO inbox VALUES ({marks})", (made(number) for number in range(1, count + 1)))
    moved = {name: (value + count if name == "inbox" else value) for name, value in ids.items()} if isinstance(ids, dict) else ids
    db.execute("UPDATE meta SET value = ? WHERE key = 'ids'", (json.dumps(moved, separators=(",", ":")),))
print(f"{count} messages to {len(agents)} agents")
