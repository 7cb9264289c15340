"""Runs the crash test on uAgents and on agentry, and prints what each has counted at the end.

python3 compare.py PYTHON_WITH_UAGENTS AGENTRY
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[2] / "python" / "src"
MESSAGES = 200
KILLS = [20, 60, 100, 140, 180]
PATIENCE = 300
QUIET = 15


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(what: str, true: Callable[[], bool], patience: float = PATIENCE) -> None:
    end = time.monotonic() + patience
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.05)


def until_quiet(value: Callable[[], Any]) -> None:
    """Waits until nothing has changed for a while."""
    last, since = value(), time.monotonic()
    while time.monotonic() - since < QUIET:
        time.sleep(0.2)
        now = value()
        if now != last:
            last, since = now, time.monotonic()


def kill(process: "subprocess.Popen[Any]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def on_uagents(python: str, folder: Path) -> Dict[str, int]:
    ports = [free_port(), free_port()]
    log = (folder / "log").open("w")

    def start(name: str, *args: object, **more: Any) -> "subprocess.Popen[Any]":
        return subprocess.Popen(
            [python, HERE / name, *map(str, args)],
            cwd=folder, stderr=log, start_new_session=True, text=True, **more,
        )

    def address(name: str, *args: object) -> str:
        command = [python, HERE / name, *map(str, args), "--address"]
        printed = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True)
        return printed.stdout.split()[-1]

    counter_address = address("uagents_counter.py", ports[0])
    endpoint = f"http://127.0.0.1:{ports[0]}/submit"
    # The counter must find the sender, too: its resolver has one rule more.
    sender = address("uagents_sender.py", ports[1], counter_address, endpoint, 0)
    rules = {sender: f"http://127.0.0.1:{ports[1]}/submit"}
    (folder / "sitecustomize.py").write_text(
        "import uagents.agent, uagents.resolver\n"
        f"rules = uagents.resolver.RulesBasedResolver({rules!r})\n"
        "uagents.agent.GlobalResolver = lambda *a, **k: rules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    storage = folder / f"{counter_address[:16]}_data.json"

    def count() -> int:
        try:
            return int(json.loads(storage.read_text()).get("count", 0))
        except (OSError, ValueError):
            return 0

    def begin() -> "subprocess.Popen[Any]":
        process = start("uagents_counter.py", ports[0], stdout=log, env=environment)
        def is_up() -> bool:
            with socket.socket() as found:
                return found.connect_ex(("127.0.0.1", ports[0])) == 0
        until("the counter's port", is_up)
        return process

    counter = begin()
    lines: List[Dict[str, int]] = []
    sending = start(
        "uagents_sender.py", ports[1], counter_address, endpoint, MESSAGES, stdout=subprocess.PIPE
    )

    def read() -> None:
        assert sending.stdout is not None
        for line in sending.stdout:
            if line.startswith("{"):
                lines.append(json.loads(line))

    threading.Thread(target=read, daemon=True).start()
    for at in KILLS:
        # What was lost is missing at the end, so it is the progress of either side that counts.
        until(f"{at} messages", lambda: max(count(), sum("sent" in line for line in lines)) >= at)
        kill(counter)
        counter = begin()
    until("the last message", lambda: any("all" in line for line in lines))
    until_quiet(lambda: (count(), len(lines)))
    counts = [line["count"] for line in lines if "answer" in line]
    found = {"sent": MESSAGES, "counted": count(), "answers": len(counts), "different": len(set(counts))}
    kill(counter)
    kill(sending)
    return found


def on_agentry(agentry: str, folder: Path) -> Dict[str, int]:
    log = (folder / "log").open("w")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AGENTRY")}

    def call(where: Path, *args: str) -> Dict[str, Any]:
        printed = subprocess.run(
            [agentry, *args, "--json"], cwd=where, env=environment, stdout=subprocess.PIPE,
            stderr=log, text=True, check=True,
        )
        result: Dict[str, Any] = json.loads(printed.stdout)
        return result

    def start(where: Path, *args: str) -> "subprocess.Popen[Any]":
        process = subprocess.Popen(
            [agentry, *args, "--json"], cwd=where, env=environment, stdout=subprocess.PIPE, stderr=log,
            text=True, start_new_session=True,
        )
        assert process.stdout is not None and process.stdout.readline()
        return process

    port, wallets = free_port(), {}
    for name in ("counter", "sender"):
        home = folder / name
        home.mkdir()
        (home / "password").write_text("a password of the test")
        (home / "password").chmod(0o600)
        made = call(
            home, "wallet", "create", name, "--keystore", "keystore", "--password-file", "password"
        )
        wallets[name] = made
    funds = [f"--fund={wallet['address']}=1000000" for wallet in wallets.values()]
    node = start(folder, "devnet", "--port", str(port), "--block-time", "200ms", *funds)
    for name, other in (("counter", "sender"), ("sender", "counter")):
        text = f"""
            [chain]
            id = "ait-devnet"
            rpc = "http://127.0.0.1:{port}"
            [http]
            listen = "127.0.0.1:0"
            [wallets]
            keystore_dir = "keystore"
            password_file = "password"
            [defaults]
            per_sender_rate = "unlimited"
            [[contact]]
            name = "{other}"
            address = "{wallets[other]['address']}"
            public_key = "{wallets[other]['public_key']}"
            [[agent]]
            name = "{name}"
            [[agent.behaviours]]
            kind = "process"
            program = "python3"
            args = ["{HERE / (name + '.py')}"]
            declared = "agent.json"
            env = {{ PYTHONPATH = "{PACKAGE}", PYTHONDONTWRITEBYTECODE = "1" }}
        """
        (folder / name / "agents.toml").write_text("\n".join(map(str.strip, text.splitlines())))
        declared = subprocess.run(
            ["python3", HERE / f"{name}.py", "--declare"], env={**environment, "PYTHONPATH": str(PACKAGE)},
            stdout=subprocess.PIPE, check=True,
        )
        (folder / name / "agent.json").write_bytes(declared.stdout)

    def state(name: str) -> Dict[str, Any]:
        with sqlite3.connect(f"file:{folder / name / 'agentry.db'}?mode=ro", uri=True) as db:
            return {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM state")}

    counter, sender = start(folder / "counter", "run"), start(folder / "sender", "run")
    # Another wallet asks the sender to begin: its own messages to itself are not acted on.
    ask = ("agent", "message", "--wallet", "counter", "--to", "sender", str(MESSAGES))
    call(folder / "counter", *ask)
    for at in KILLS:
        until(f"{at} counted messages", lambda: state("counter").get("count", 0) >= at)
        kill(counter)
        counter = start(folder / "counter", "run")
    until("all answers", lambda: len(state("sender").get("counts", [])) >= MESSAGES)
    until_quiet(lambda: (state("counter"), state("sender")))
    counts = state("sender")["counts"]
    found = {
        "sent": MESSAGES,
        "counted": state("counter")["count"],
        "answers": len(counts),
        "different": len(set(counts)),
    }
    for process in (counter, sender, node):
        kill(process)
    return found


def main() -> None:
    python, agentry = sys.argv[1:]
    print("| | sent | counted | answers | different counts in them |\n|---|---|---|---|---|")
    for name, run, program in (
        ("uAgents", on_uagents, python), ("agentry", on_agentry, agentry)
    ):
        with tempfile.TemporaryDirectory(prefix="crash-test-") as folder:
            found = run(program, Path(folder))
        print(f"| {name} | {' | '.join(map(str, found.values()))} |", flush=True)


if __name__ == "__main__":
    main()
