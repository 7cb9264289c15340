"""The official Python client of A2A against agents on a chain, through the gateway of agentry.

Arguments: the URL of the server, and the key that signs the card of `worker` (64 hexadecimal digits).
The token is in A2A_TOKEN.
"""

import asyncio
import base64
import os
import sys
import uuid

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Message,
    Part,
    Role,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskState,
)
from a2a.utils.signing import create_signature_verifier, InvalidSignaturesError
from jwt.api_jwk import PyJWK

base, key = sys.argv[1:3]
token = os.environ["A2A_TOKEN"]


def message(text, kind=None, task=None):
    made = Message(message_id=str(uuid.uuid4()), role=Role.ROLE_USER, parts=[Part(text=text)])
    if kind:
        made.metadata.update({"agentry/type": kind})
    if task:
        made.task_id = task
    return made


def key_of(kid, jku):
    assert kid.startswith("ait1"), kid
    point = base64.urlsafe_b64encode(bytes.fromhex(key)).rstrip(b"=").decode()
    return PyJWK({"kty": "OKP", "crv": "Ed25519", "x": point, "alg": "EdDSA"})


def name(state):
    return TaskState.Name(state)


async def last(events):
    found = None
    kinds = []
    async for event in events:
        kinds.append(event.WhichOneof("payload"))
        found = event
    return found, kinds


async def check(http, binding):
    for agent in ("elsewhere", "worker", "several"):
        resolver = A2ACardResolver(http, f"{base}/a2a/{agent}")
        verifier = None
        if agent == "worker":
            verifier = create_signature_verifier(key_of, ["EdDSA"])
        card = await resolver.get_agent_card(signature_verifier=verifier)
        if agent == "worker":
            card_of_worker = card
        if agent == "elsewhere":
            card_of_elsewhere = card
    changed = type(card_of_worker)()
    changed.CopyFrom(card_of_worker)
    changed.supported_interfaces[0].url = "https://evil.example/"
    try:
        create_signature_verifier(key_of, ["EdDSA"])(changed)
    except InvalidSignaturesError:
        print(binding, "a changed card is refused")
    else:
        raise SystemExit("a changed card was accepted")

    def client(card, streaming):
        config = ClientConfig(
            httpx_client=http, streaming=streaming, supported_protocol_bindings=[binding]
        )
        return ClientFactory(config).create(card)

    done, kinds = await last(client(card_of_worker, False).send_message(SendMessageRequest(message=message("hello"))))
    assert done.task.status.state == TaskState.TASK_STATE_COMPLETED, done
    assert "hello" in done.task.artifacts[0].parts[0].text
    print(binding, "completed:", name(done.task.status.state))

    done, kinds = await last(client(card_of_worker, True).send_message(SendMessageRequest(message=message("hello"))))
    assert kinds[0] == "task" and "artifact_update" in kinds, kinds
    assert done.status_update.status.state == TaskState.TASK_STATE_COMPLETED, done
    print(binding, "streamed:", kinds)

    done, _ = await last(client(card_of_elsewhere, False).send_message(SendMessageRequest(message=message("hello"))))
    assert done.task.status.state == TaskState.TASK_STATE_COMPLETED, done
    print(binding, "completed by an agent of another runtime")

    several = client(card, False)
    asked, _ = await last(several.send_message(SendMessageRequest(message=message("hello", "asks"))))
    assert asked.task.status.state == TaskState.TASK_STATE_INPUT_REQUIRED, asked
    answer = SendMessageRequest(message=message("the left one", task=asked.task.id))
    done, _ = await last(several.send_message(answer))
    assert done.task.status.state == TaskState.TASK_STATE_COMPLETED, done
    print(binding, "gave input:", done.task.artifacts[0].parts[0].text.strip())

    streaming = client(card, True)
    events = streaming.send_message(SendMessageRequest(message=message("hello", "slow")))
    first = await anext(aiter(events))
    task = first.task.id
    # The connection is lost; the client subscribes again.
    await events.aclose()
    watched = []

    async def watch():
        async for event in streaming.subscribe(SubscribeToTaskRequest(id=task)):
            watched.append(event)
            began.set()

    began = asyncio.Event()
    watching = asyncio.create_task(watch())
    await asyncio.wait_for(began.wait(), 60)
    canceled = await several.cancel_task(CancelTaskRequest(id=task))
    assert canceled.status.state == TaskState.TASK_STATE_CANCELED, canceled
    await asyncio.wait_for(watching, 60)
    assert watched[-1].status_update.status.state == TaskState.TASK_STATE_CANCELED, watched
    print(binding, "canceled, and the new subscription learned it")

    found = await several.get_task(GetTaskRequest(id=task))
    assert found.id == task
    listed = await several.list_tasks(ListTasksRequest(page_size=2))
    assert len(listed.tasks) == 2 and listed.next_page_token, listed
    print(binding, "listed", len(listed.tasks))


async def main():
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=90) as http:
        for binding in ("JSONRPC", "HTTP+JSON"):
            await check(http, binding)


asyncio.run(main())
print("all passed")
