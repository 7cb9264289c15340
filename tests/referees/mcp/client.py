"""The official Python client, over standard input and output or over HTTP.

    client.py stdio COMMAND ARGUMENT…
    client.py http URL FILE-WITH-SECRET
"""

import asyncio
import sys
from pathlib import Path

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client


def server(kind: str, arguments: list[str]):
    if kind == "stdio":
        return StdioServerParameters(command=arguments[0], args=arguments[1:])
    url, secret = arguments
    token = Path(secret).read_text().strip()
    client = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=90)
    return streamable_http_client(url, http_client=client)


async def converse(client: Client) -> None:
    """Finds an agent, sends it a message, and waits for its answer. The client checks each result
    against the tool's output schema."""
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert len(tools) == 10, list(tools)

    async def call(tool: str, /, **arguments):
        told = []

        async def progress(now, total, message):
            told.append((now, total, message))

        result = await client.call_tool(tool, arguments, progress_callback=progress)
        assert not result.is_error, result
        return result.structured_content

    found = await call("find_agents", name="ponger")
    address = found["agents"][0]["address"]
    await call("get_agent", who=address)
    await call("agent_status")
    sent = await call("send_message", to=address, text="ping")
    delivery = await call("wait_for_reply", id=sent["id"], timeout_ms=60_000)
    assert delivery["answer"]["text"] == "pong", delivery
    assert delivery["answer"]["from"] == address
    await call("get_message", id=delivery["answer"]["id"])
    inbox = await call("read_inbox")
    assert inbox["messages"][-1]["text"] == "pong"
    job = await call("submit_task", to="worker", type="echo", prompt="Say it", wait_ms=60_000)
    assert "Say it" in job["result"]["text"], job
    await call("get_task", id=job["id"])
    refused = await client.call_tool("cancel_task", {"id": job["id"]})
    assert refused.is_error
    listed = await client.list_resources()
    inbox = next(one.uri for one in listed.resources if one.name == "inbox of helper")
    read = await client.read_resource(inbox)
    assert "pong" in read.contents[0].text
    templates = await client.list_resource_templates()
    assert len(templates.resource_templates) == 5
    if client.protocol_version >= "2026-07-28":
        async with client.listen(resource_subscriptions=[inbox]) as changes:
            await call("send_message", to=address, text="ping")
            async for change in changes:
                assert str(change.uri) == str(inbox), change
                break


async def main() -> None:
    kind, *arguments = sys.argv[1:]
    for mode, version in (("legacy", "2025-11-25"), ("auto", "2026-07-28")):
        async with Client(server(kind, arguments), mode=mode, read_timeout_seconds=90) as client:
            assert client.protocol_version == version, client.protocol_version
            await asyncio.wait_for(converse(client), 120)
        print(f"{kind}, {version}: found an agent, sent, waited, and got the answer that was mined")


asyncio.run(main())
