"""What the MCP server is made of; `langchain_mmrag.mcp` is the way in."""
