"""Pictures of a document: its outline, as Mermaid text, and laid out as SVG."""
