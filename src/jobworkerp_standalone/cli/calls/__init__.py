"""What the commands do, as coroutines on a client. Loaded when a command calls a server, not before."""
