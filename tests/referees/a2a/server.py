"""An agent on the official SDK (a2a-sdk) that does what its message says; see `run`.

It prints its URL, and then what happened to its tasks. Below the URL are the bases of several cards:

    rpc, rest    JSON-RPC or REST, with streams
    poll         JSON-RPC, without streams
    changed      as rpc, but changed after it was signed
    cut          as rpc, but the first stream breaks after its first event
"""

import asyncio
import os
import socket

import jwt
import uvicorn
from a2a.helpers import (
    new_data_part,
    new_task_from_user_message,
    new_text_message,
    new_text_part,
)
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import (
    create_agent_card_routes,
    create_jsonrpc_routes,
    create_rest_routes,
)
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import a2a_pb2 as a2a
from a2a.utils.signing import create_agent_card_signer
from starlette.applications import Starlette
from starlette.routing import Mount


def said(event, *fields):
    print(event, *fields, flush=True)


class Gardener(AgentExecutor):
    async def execute(self, context, event_queue):
        text = context.get_user_input()
        said("message", context.message.message_id, context.message.context_id, text)
        if text == "message":
            await event_queue.enqueue_event(new_text_message("only words", context_id=context.context_id))
            return
        if context.current_task is None:
            await event_queue.enqueue_event(new_task_from_user_message(context.message))
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        if context.current_task is not None:
            await updater.add_artifact([new_text_part("so " + text)])
            await updater.complete()
            return
        await updater.start_work(new_text_message("digging"))
        if text == "ask":
            await updater.requires_input(new_text_message("how much?"))
        elif text == "fail":
            await updater.failed(new_text_message("it broke"))
        elif text == "reject":
            await updater.reject(new_text_message("not here"))
        elif text == "data":
            await updater.add_artifact([new_data_part({"litres": 2})])
            await updater.complete()
        elif text == "slow":
            await asyncio.sleep(3600)
        else:
            await asyncio.sleep(0.3)
            await updater.add_artifact([new_text_part("green ")], artifact_id="a")
            await updater.add_artifact([new_text_part("thumb")], artifact_id="a", append=True)
            await updater.complete()

    async def cancel(self, context, event_queue):
        said("canceled", context.task_id)
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


def card(url, binding, streaming):
    return a2a.AgentCard(
        name="Gärtner",
        description="waters plants",
        version="1.0.0",
        supported_interfaces=[
            a2a.AgentInterface(url=url, protocol_binding=binding, protocol_version="1.0")
        ],
        capabilities=a2a.AgentCapabilities(streaming=streaming),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[a2a.AgentSkill(id="w", name="water", description="with a can", tags=["garden"])],
        security_schemes={
            "key": a2a.SecurityScheme(
                http_auth_security_scheme=a2a.HTTPAuthSecurityScheme(scheme="bearer")
            )
        },
    )


def cutting(app):
    """Breaks the connection of the first stream after its first event."""
    cut = False

    async def cutter(scope, receive, send):
        nonlocal cut

        async def sending(message):
            nonlocal cut
            await send(message)
            if message["type"] == "http.response.body" and b"data:" in message.get("body", b""):
                if not cut:
                    cut = True
                    said("cut")
                    raise ConnectionResetError

        await app(scope, receive, sending if not cut else send)

    return cutter


def main():
    key = jwt.PyJWK(
        {"kty": "OKP", "crv": "Ed25519", "d": os.environ["A2A_SEED"], "x": os.environ["A2A_KEY"]},
        algorithm="EdDSA",
    )
    sign = create_agent_card_signer(key, {"alg": "EdDSA", "kid": "referee", "typ": "JOSE"})
    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    routes = []
    for name, binding, streaming in [
        ("rpc", "JSONRPC", True),
        ("rest", "HTTP+JSON", True),
        ("poll", "JSONRPC", False),
        ("changed", "JSONRPC", True),
        ("cut", "JSONRPC", True),
    ]:
        rest = binding == "HTTP+JSON"
        # A path for the interface: the routes of REST are below it.
        url = f"{base}/{name}" if rest else f"{base}/{name}/rpc"
        own = sign(card(url, binding, streaming))
        if name == "changed":
            own.description = "waters nothing"
        handler = DefaultRequestHandler(Gardener(), InMemoryTaskStore(), own)
        operations = create_rest_routes(handler) if rest else create_jsonrpc_routes(handler, "/rpc")
        app = Starlette(routes=[*create_agent_card_routes(own), *operations])
        routes.append(Mount(f"/{name}", app=cutting(app) if name == "cut" else app))
    said(base)
    config = uvicorn.Config(Starlette(routes=routes), log_level="critical")
    uvicorn.Server(config).run(sockets=[listener])


main()
