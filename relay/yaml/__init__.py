"""YAML with line numbers, sections, kinds of values."""
