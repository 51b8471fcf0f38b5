"""Translators between the GA interface and others; pure."""
