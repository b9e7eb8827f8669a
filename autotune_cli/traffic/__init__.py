"""The user's own traffic: logs of a server, the batches that its scheduler made of them, and a suite of few workloads
that stand for these. Pure: no torch, no GPU. docs/traffic.md.
"""
