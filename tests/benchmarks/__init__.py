"""Speed, black box: Mailspool and its peers into the same smtp-sink, side by side in one run.

`python -m tests.benchmarks` (`make bench`) runs rounds; in each round every side sends its mails once, so that a noisy
machine is noisy for all. What is reported is a side's speed divided by smtp-source's of the same round: the median,
the least and the greatest. The clock is the sink's own count, from its first mail of a side to its last: start-up and
loading are left out for all alike. A side whose mails the sink did not count exactly ends the run.

    sides.py    what a side is; Mailspool, in several durabilities and contents
    peers/      one file a peer; each says how to install what it lacks (`--install` does it, into .bench/)
    sink.py     smtp-sink and the stopwatch over its count
    report.py   ratios, a table, JSON, an SVG picture

`python -m tests.benchmarks.smtp_source` is the pair alone, with the worker's memory and CPU and the producer's speed.
"""
