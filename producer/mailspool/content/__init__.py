"""Spec + row -> the bytes of a mail. Shared: the worker renders to send, the producer to check and to preview."""
