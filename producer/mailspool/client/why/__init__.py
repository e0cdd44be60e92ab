"""Why mail has not gone yet, and until when: `why_of(connection, ref)` in reading.py.

reading.py asks Redis, batches.py and others.py decide (pure), report.py holds the words. Raises NotFound.
"""

from __future__ import annotations

from mailspool.client.why.report import Cause as Cause
from mailspool.client.why.report import Why as Why
