-- An entry that could not be read: it goes, and its hit becomes a miss.
-- KEYS[1..4]: see drop.lua; KEYS[5]: the entry
-- ARGV: length of the prefix
count('hits', KEYS[5], -1)
count('misses', KEYS[5], 1)
return drop(KEYS[5])
