"""SMTP as it lies on the wire: replies, transactions, and the life of one connection."""
