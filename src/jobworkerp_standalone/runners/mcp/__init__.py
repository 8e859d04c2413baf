"""MCP_SERVER: the tools of MCP servers as runners.

Each configured server is one runner with a method for each tool. `origin` says which servers there are, `link` keeps
one connected, `runner` calls tools. Only `session` and what it imports know the MCP library.
"""
