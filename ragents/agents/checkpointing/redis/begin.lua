-- The tools' ledger: notes that a call begins, unless it has been noted before.
--
-- Fields l NUL call in the thread's rows and index, so that they live as long as its checkpoints.
-- ARGV    1 ttl in ms (0: none)   2 call
-- Result  nil: it is new; otherwise what is noted, '' for a call that was begun and never finished

local entry = field('l', ARGV[2])
local noted = redis.call('HGET', KEYS[1], entry)
if not noted then
  redis.call('HSET', KEYS[1], entry, '')
  redis.call('ZADD', KEYS[2], 0, entry)
end
refresh(ARGV[1])
return noted
