-- Remove entries.
-- KEYS[1..4]: see drop.lua; KEYS[5..]: the entries
-- ARGV: length of the prefix
-- Result: how many there were
local removed = 0
for n = 5, #KEYS do removed = removed + drop(KEYS[n]) end
return removed
