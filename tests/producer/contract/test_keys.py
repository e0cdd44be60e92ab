"""Key names that Python uses are those that the scripts use, and job ids can be read back."""

from __future__ import annotations

import pytest

from mailspool.contract.keys import Keys
from tests.producer.contract.batches import BULK, DATA, SHA, begin, feed, lease, load, names, record, staffed
from tests.storm import ops
from tests.storm.world import World


@pytest.mark.parametrize("prefix", ["ms", "ms:two", "a-b"])
def test_a_job_id_can_be_read_back(prefix: str) -> None:
    keys = Keys(prefix)
    assert keys.parse_job_id(keys.job_id("b7k2m9q4x", 12, 345)) == ("b7k2m9q4x", 12, 345)


def test_python_and_the_scripts_name_the_same_keys(world: World) -> None:
    staffed(world)
    begin(world, "u1", "A")
    world.do(ops.Attach("b1", "u1", SHA, DATA))
    keys = world.keys
    assert keys.loading in world.db.raw
    for k in range(2):
        load(world, "b1", "u1", k, names(1, first=k))
    world.do(ops.Commit("b1", "u1", 2, (SHA,)))
    run = lease(world, feed(world)[0])
    record(world, run, (0, "f"))
    named = {keys.batches, keys.ids, keys.workers, keys.deadline, keys.batch("b1"), keys.spec("b1"), keys.rows("b1")}
    named |= {keys.chunk("b1", 0), keys.out("b1", 0), keys.odd("b1"), keys.key("A"), keys.blob(SHA), keys.totals(BULK)}
    assert named | {keys.worker("w1"), keys.queue(BULK)} <= world.db.raw.keys()
    world.do(ops.Close("b1", "cancelled"))
    world.do(ops.Settle(*run.ref))
    assert keys.retire in world.db.raw
