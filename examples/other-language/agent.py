#!/usr/bin/env python3
"""An agent in another language, written from docs/protocol.md alone.

    python3 agent.py NODE ADDRESS ENC_KEY

sends messages of every kind in the protocol, over the RPC of a node, to the agent at ADDRESS, whose
card has the encryption key ENC_KEY, and prints the answers. It ends with exit code 1 at the first
unexpected answer. SEED in the environment is the seed of its wallet, 64 hexadecimal digits; the
wallet needs some money for fees.

It needs Python 3.9 and nothing else. See primitives.py for its limits.
"""

import base64
import hashlib
import json
import os
import sys
import time
import urllib.request
import uuid

import primitives

CHAIN = "ait-devnet"
SUITE = "X25519-SHA256-AES256GCM"
ANSWERS = {"PONG", "ACK", "STATUS", "JOB_PROGRESS", "JOB_COMPLETE", "JOB_FAILED"}


# Canonical JSON.


def spaced(value):
    return json.dumps(value, sort_keys=True).encode()


def compact(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


# Sealing: HPKE (RFC 9180), base mode, one shot.

KEM = b"KEM\x00\x20"
HPKE = b"HPKE\x00\x20\x00\x01\x00\x02"


def labeled_extract(suite, salt, label, key):
    return primitives.extract(salt, b"HPKE-v1" + suite + label + key)


def labeled_expand(suite, key, label, info, length):
    info = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return primitives.expand(key, info, length)


def schedule(shared, enc, recipient):
    """The key and the nonce of one message."""
    key = labeled_extract(KEM, b"", b"eae_prk", shared)
    secret = labeled_expand(KEM, key, b"shared_secret", enc + recipient, 32)
    context = (
        b"\0"
        + labeled_extract(HPKE, b"", b"psk_id_hash", b"")
        + labeled_extract(HPKE, b"", b"info_hash", b"agentry/1 sealed")
    )
    secret = labeled_extract(HPKE, secret, b"secret", b"")
    key = labeled_expand(HPKE, secret, b"key", context, 32)
    return key, labeled_expand(HPKE, secret, b"base_nonce", context, 12)


def seal(recipient, plaintext, associated, ikm=None):
    prk = labeled_extract(KEM, b"", b"dkp_prk", ikm or os.urandom(32))
    ephemeral = labeled_expand(KEM, prk, b"sk", b"", 32)
    enc = primitives.x25519(ephemeral)
    key, nonce = schedule(primitives.x25519(ephemeral, recipient), enc, recipient)
    return enc, primitives.aes_gcm_seal(key, nonce, plaintext, associated)


def unseal(private, enc, ciphertext, associated):
    shared = primitives.x25519(private, enc)
    key, nonce = schedule(shared, enc, primitives.x25519(private))
    return primitives.aes_gcm_open(key, nonce, ciphertext, associated)


def decryption_key(seed):
    return primitives.expand(primitives.extract(b"", seed), b"agentry/1 x25519", 32)


def to_base64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_base64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def binding(transaction):
    """The associated data of a sealed message."""
    return compact({key: transaction[key] for key in ("chain_id", "from", "to")})


# Reading.


def no_key_twice(pairs):
    if len(dict(pairs)) != len(pairs):
        raise KeyError("duplicate key")
    return dict(pairs)


def read(payload):
    """The content of a payload, ("command", object), ("text", text) or ("opaque", None), and its
    header."""
    body = payload
    if isinstance(payload, str):
        body = None
        if payload.lstrip(" \t\n\r").startswith("{"):
            try:
                body = json.loads(payload, object_pairs_hook=no_key_twice)
            except KeyError:
                return "opaque", None, None
            except ValueError:
                pass
        if not isinstance(body, dict) or not isinstance(body.get("cmd"), str):
            return "text", payload, None
    if not isinstance(body, dict):
        return "opaque", None, None
    header = body.get("msg")
    if isinstance(header, dict) and header.get("v") != 1:
        header = None
    if isinstance(body.get("cmd"), str):
        return "command", body, header
    if isinstance(body.get("text"), str):
        return "text", body["text"], header
    return "opaque", None, None


def is_verified(transaction, header):
    """Whether `from` belongs to the key in the header, and the signature is valid under it."""
    key = bytes.fromhex((header or {}).get("key", ""))
    if transaction["chain_id"] != CHAIN or transaction["from"] != "ait1" + key.hex()[:40]:
        return False
    signed = {key: value for key, value in transaction.items() if key in SIGNED}
    signature = transaction["signature"]
    is_spelled = len(signature) == 128 and set(signature) <= set("0123456789abcdef")
    signed["type"] = "transfer"
    return is_spelled and primitives.verify(key, spaced(signed), bytes.fromhex(signature))


SIGNED = {"from", "to", "amount", "fee", "nonce", "payload", "chain_id"}


class Agent:
    def __init__(self, node, seed):
        self.node, self.seed = node, seed
        self.key = primitives.public_key(seed).hex()
        self.address = "ait1" + self.key[:40]
        self.private = decryption_key(seed)
        self.enc_key = primitives.x25519(self.private).hex()
        self.nonce = 0
        self.read_through = -1
        self.inbox = []

    def rpc(self, path, body=None):
        request = urllib.request.Request(self.node + "/rpc/" + path)
        if body is not None:
            request = urllib.request.Request(
                self.node + "/rpc/" + path, compact(body), {"content-type": "application/json"}
            )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    # Sending.

    def header(self, **fields):
        now = now_ms()
        random = bytearray(now.to_bytes(6, "big") + os.urandom(10))
        random[6] = 0x70 | random[6] & 0x0F
        random[8] = 0x80 | random[8] & 0x3F
        return {"v": 1, "id": str(uuid.UUID(bytes=bytes(random))), "key": self.key, **fields}

    def send(self, to, payload):
        """Signs and posts a transaction; returns its hash."""
        self.nonce = max(self.nonce + 1, now_ms())
        transaction = {
            "type": "transfer",
            "from": self.address,
            "to": to,
            "amount": 0,
            "fee": 10,
            "nonce": self.nonce,
            "payload": payload,
            "chain_id": CHAIN,
        }
        signature = primitives.sign(self.seed, spaced(transaction)).hex()
        kept = {key: transaction[key] for key in SIGNED}
        kept["signature"] = signature
        self.rpc("transaction", {**transaction, "signature": signature, "public_key": self.key})
        return "0x" + hashlib.sha256(compact(kept)).hexdigest()

    def command(self, to, cmd, header=None, **parameters):
        body = {"cmd": cmd, **parameters, "msg": header or self.header()}
        return self.send(to, compact(body).decode())

    def sealed(self, to, enc_key, message, header=None):
        associated = compact({"chain_id": CHAIN, "from": self.address, "to": to})
        enc, ct = seal(bytes.fromhex(enc_key), compact(message), associated)
        parameters = {"suite": SUITE, "enc": to_base64(enc), "ct": to_base64(ct)}
        return self.command(to, "SEALED", header, **parameters)

    # Receiving.

    def look(self):
        """Reads the new blocks."""
        while self.read_through < self.rpc("head")["height"]:
            self.read_through += 1
            self.inbox += self.rpc(f"blocks/{self.read_through}")["transactions"]

    def answers(self, to, question):
        """The valid answers to a question, in the order of the chain."""
        found = []
        for transaction in self.inbox:
            kind, said, header = read(transaction["payload"])
            if transaction["to"] != self.address or (header or {}).get("re") != question:
                continue
            if transaction["from"] != to or not is_verified(transaction, header):
                continue
            if kind == "text":
                found.append((kind, said))
            elif kind == "command" and said["cmd"] == "SEALED":
                enc, ct = from_base64(said["enc"]), from_base64(said["ct"])
                said = json.loads(unseal(self.private, enc, ct, binding(transaction)))
                found.append(("sealed", read(said)[1]))
            elif kind == "command" and said["cmd"] in ANSWERS:
                found.append((said["cmd"], said.get("status")))
        return found

    def plain(self, to):
        """The texts without a header that name this sender. Anyone may have posted them."""
        heard = [one for one in self.inbox if (one["from"], one["to"]) == (to, self.address)]
        return [one["payload"] for one in heard if isinstance(one["payload"], str)]

    def expect(self, what, expected, look):
        end = time.monotonic() + 60
        while sorted(look(), key=str) != sorted(expected, key=str):
            if time.monotonic() > end:
                print(f"{what}: expected {expected}, found {look()}")
                sys.exit(1)
            time.sleep(0.05)
            self.look()
        print(f"{what}: {', '.join(str(one) for one in expected)}", flush=True)


def now_ms():
    return int(time.time() * 1000)


def main():
    node, to, enc_key = sys.argv[1:]
    me = Agent(node, bytes.fromhex(os.environ["SEED"]))

    def answers(question):
        return lambda: me.answers(to, question)

    me.send(to, "ping")
    me.expect("a plain ping", ["pong"], lambda: [one for one in me.plain(to) if one == "pong"])

    received, done = ("ACK", "RECEIVED"), ("ACK", "DONE")
    asked = me.command(to, "PING", me.header(ack="done", thread="t/1"))
    me.expect("PING", [("PONG", None), received, done], answers(asked))

    asked = me.send(to, {"text": "ping", "msg": me.header(ack="received")})
    me.expect("a text with a header", [("text", "pong"), received], answers(asked))

    asked = me.command(to, "STATUS_REPORT")
    me.expect("STATUS_REPORT", [("STATUS", None)], answers(asked))

    asked = me.command(to, "SOMETHING_ELSE", me.header(ack="done"))
    me.expect("an unknown command", [received, ("ACK", "REJECTED")], answers(asked))

    asked = me.command(to, "PING", me.header(ack="done", exp=now_ms() - 1000))
    me.expect("an expired PING", [("ACK", "EXPIRED")], answers(asked))

    me.command(
        me.address, "ANNOUNCE", name="pythia", enc_key=me.enc_key, expires=now_ms() + 3_600_000
    )
    asked = me.sealed(to, enc_key, {"text": "ping"}, me.header(ack="done"))
    me.expect("a sealed ping", [("sealed", "pong"), received, done], answers(asked))

    header = me.header(ack="done")
    first, again = (me.command(to, "PING", header) for _ in range(2))

    def both():
        return me.answers(to, first) + me.answers(to, again)

    me.expect("a PING sent twice", [("PONG", None), received, done], both)

    # By now all answers to the earlier messages have arrived.
    asked = me.command(to, "PING")
    me.expect("one more PING", [("PONG", None)], answers(asked))
    me.expect("still", [("PONG", None), received, done], both)


if __name__ == "__main__":
    main()
