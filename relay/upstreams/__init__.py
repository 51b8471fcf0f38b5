"""Connections to providers of the Realtime API."""
