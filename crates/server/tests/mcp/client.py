"""Lists the agents of a server and calls one, with the official client. Prints what it gets, as JSON."""

import asyncio, json, sys

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client


async def use(read, write):
    messages = []

    async def progress(done, total, message):
        messages.append(message)

    async with ClientSession(read, write) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        result = await session.call_tool("clerk", {"task": "Greet me."}, progress_callback=progress)
        wrong = await session.call_tool("clerk", {"task": ""})
        print(json.dumps({
            "tools": {tool.name: tool.description for tool in tools},
            "text": [part.text for part in result.content],
            "is_error": bool(getattr(result, "is_error", getattr(result, "isError", False))),
            "wrong": bool(getattr(wrong, "is_error", getattr(wrong, "isError", False))),
            "progress": messages,
        }))


async def main(target):
    if target[0].startswith("http"):
        async with streamable_http_client(target[0]) as streams:
            await use(streams[0], streams[1])
    else:
        async with stdio_client(StdioServerParameters(command=target[0], args=target[1:])) as (read, write):
            await use(read, write)


asyncio.run(main(sys.argv[1:]))
