"""One SMTP conversation with a relay, exactly as it went, and a sentence that says what it means.

Called by the `probe` command and by `setup`. Prints nothing. It speaks SMTP on a small protocol of its own, because the
lines themselves are the answer; the worker's sessions have no part in it.
Credentials are masked in every line, also where a server repeats them; what a server says is shown with its control
characters escaped. A reply is bounded to 32 KiB and 100 lines, and every wait has a deadline.
Raises: InputError for an address that cannot stand in an envelope, ConfigError for a user without a password or a name
that is no relay. A server that is away, refuses or talks nonsense is no exception: `verdict` and `exit_code` say it.
Known limit: an unverified certificate shows no expiry (the standard library reads only verified ones).
"""

from __future__ import annotations

from mailspool.probe.converse import CONNECT_TIMEOUT_S, REPLY_TIMEOUT_S, probe, probe_relay
from mailspool.probe.report import LOGIN_REFUSED, OK, UNAVAILABLE, ProbeReport, ProbeStep, ProbeTls

__all__ = [
    "CONNECT_TIMEOUT_S",
    "LOGIN_REFUSED",
    "OK",
    "REPLY_TIMEOUT_S",
    "UNAVAILABLE",
    "ProbeReport",
    "ProbeStep",
    "ProbeTls",
    "probe",
    "probe_relay",
]
