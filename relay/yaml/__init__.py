"""YAML with line numbers: documents, sections of keys, kinds of values."""
