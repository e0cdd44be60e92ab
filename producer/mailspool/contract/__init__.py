"""What producers and workers agree on: records, their encoding, Redis keys, states, and the moves between states.

Imports nothing else of ours. A change here is a change of the protocol between releases that run side by side.
"""
