"""How a job moves: intake, catalog, dispatcher, executor, completer, poller, keeper."""
