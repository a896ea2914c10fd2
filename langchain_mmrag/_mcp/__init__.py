"""What the MCP server is made of; `langchain_mmrag.mcp` is the way in."""

from __future__ import annotations

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8765
