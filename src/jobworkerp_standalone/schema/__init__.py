"""Proto text, descriptors, JSON Schema and JSON, and the ways between them."""
