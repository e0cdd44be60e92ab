-- pause what : 'spool' or a class: nobody feeds it, workers take its batches as held; 'relay:<name>': workers close it.
-- Answers 1, or 0 for what is paused already: since when stays as it is.
return call('HSETNX', P..'paused', ARGV[2], now)
