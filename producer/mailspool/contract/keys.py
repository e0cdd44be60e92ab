"""Names of the Redis keys that Python itself touches; all others live in `lua/prelude.lua` alone.

One prefix for everything, so that two spools may share one Redis. Redis Cluster is refused at start, so no hash tags.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailspool.contract.states import RECORD_VERSION, Class


@dataclass(frozen=True, slots=True)
class Keys:
    """`Keys("ms")` names every key `ms:...`."""

    prefix: str = "ms"

    @property
    def batches(self) -> str:
        """zset: batch -> created."""
        return f"{self.prefix}:batches"

    @property
    def ids(self) -> str:
        """zset of batch ids, all with score 0, for look-ups by prefix."""
        return f"{self.prefix}:ids"

    @property
    def loading(self) -> str:
        """zset: upload -> last sign of life."""
        return f"{self.prefix}:loading"

    @property
    def workers(self) -> str:
        """zset: worker -> last beat."""
        return f"{self.prefix}:workers"

    @property
    def deadline(self) -> str:
        """zset: batch -> expires."""
        return f"{self.prefix}:deadline"

    @property
    def retire(self) -> str:
        """zset: batch -> when it may be purged."""
        return f"{self.prefix}:retire"

    @property
    def erase(self) -> str:
        """set: transactional batches of which a sent mail may still lie in a chunk that was finished otherwise."""
        return f"{self.prefix}:erase"

    @property
    def chores(self) -> str:
        """hash: `erased` since the append-only file was written anew, when that was (`rewritten`); `audited`: the last
        audit; `clock`: when a worker last said farewell."""
        return f"{self.prefix}:chores"

    def later(self, class_: Class) -> str:
        """zset: live batches with nothing to send now -> the time of their next turn."""
        return f"{self.prefix}:later:{class_}"

    def open(self, class_: Class) -> str:
        """zset: live batches with something to send now -> their turn."""
        return f"{self.prefix}:open:{class_}"

    def flight(self, class_: Class) -> str:
        """zset: fed and running chunks as `<batch>:<k>` -> when the sweep must look (lease end)."""
        return f"{self.prefix}:flight:{class_}"

    def apart(self, class_: Class) -> str:
        """zset: detached chunks as `<batch>:<k>` -> lease end."""
        return f"{self.prefix}:apart:{class_}"

    def aside(self, class_: Class) -> str:
        """zset: fed or leased chunks whose batch cannot be read -> when the sweep looks again."""
        return f"{self.prefix}:aside:{class_}"

    def due(self, batch: str) -> str:
        """zset: waiting chunks -> next due time."""
        return f"{self.prefix}:due:{batch}"

    def run(self, batch: str) -> str:
        """hash: chunk -> fed:<gen> or run:<gen>:<token>."""
        return f"{self.prefix}:run:{batch}"

    def batch(self, batch: str) -> str:
        return f"{self.prefix}:batch:{batch}"

    def spec(self, batch: str) -> str:
        return f"{self.prefix}:spec:{batch}"

    def chunk(self, batch: str, k: int) -> str:
        return f"{self.prefix}:chunk:{batch}:{k}"

    def out(self, batch: str, k: int) -> str:
        return f"{self.prefix}:out:{batch}:{k}"

    def odd(self, batch: str) -> str:
        """set: chunks with an outcome other than sent."""
        return f"{self.prefix}:odd:{batch}"

    def talk(self, batch: str) -> str:
        """hash: message number -> packed conversations of its failed attempts (talks.py)."""
        return f"{self.prefix}:talk:{batch}"

    def rows(self, batch: str) -> str:
        """hash: chunk -> number of its rows."""
        return f"{self.prefix}:rows:{batch}"

    def key(self, key: str) -> str:
        return f"{self.prefix}:key:{key}"

    def blob(self, sha: str) -> str:
        return f"{self.prefix}:blob:{sha}"

    def worker(self, worker: str) -> str:
        return f"{self.prefix}:worker:{worker}"

    def route(self, relay: str) -> str:
        """hash: what the workers know of a relay: state, until, why."""
        return f"{self.prefix}:route:{relay}"

    @property
    def paused(self) -> str:
        """hash: `spool`, a class or `relay:<name>` -> since when."""
        return f"{self.prefix}:paused"

    @property
    def suppressed(self) -> str:
        """hash: identity of an address -> why nothing is sent to it (bounced.py)."""
        return f"{self.prefix}:suppressed"

    @property
    def suspects(self) -> str:
        """hash: identity of an address -> the batch that was told that it is perhaps dead, and when: `<batch> <ms>`."""
        return f"{self.prefix}:suspects"

    def totals(self, class_: Class) -> str:
        return f"{self.prefix}:totals:{class_}"

    def queue(self, class_: Class) -> str:
        """arq's zset of job ids for one class and one record format."""
        return f"{self.prefix}:q:{class_}:v{RECORD_VERSION}"

    def job_id(self, batch: str, k: int, gen: int) -> str:
        return f"{self.prefix}:{batch}:{k}:{gen}"

    def parse_job_id(self, job_id: str) -> tuple[str, int, int]:
        """(batch, chunk, gen) of an id that feed or send1 answered."""
        batch, k, gen = job_id[len(self.prefix) + 1 :].split(":")
        return batch, int(k), int(gen)
