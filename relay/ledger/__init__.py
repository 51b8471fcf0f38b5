"""The usage of each session, on disk: accounts, writer, tables, queries."""
