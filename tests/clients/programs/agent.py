"""The Agent SDK: asks what the argument says, and prints the result as JSON."""

import asyncio
import dataclasses
import json
import sys

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, query


async def main():
    async for message in query(prompt=sys.argv[1], options=ClaudeAgentOptions(max_turns=1)):
        if isinstance(message, ResultMessage):
            print(json.dumps(dataclasses.asdict(message)))


asyncio.run(main())
