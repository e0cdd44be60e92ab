"""The parts of classify.py: words, table of rules, sentences. Import from `mailspool_worker.classify`."""
