"""How the promises of ``ports`` are kept, one room for each technology."""
