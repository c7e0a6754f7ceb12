-- The tools' ledger: notes what a call gave. The first result stays.
--
-- ARGV  1 ttl in ms (0: none)   2 call   3 result, not empty

local entry = field('l', ARGV[2])
local noted = redis.call('HGET', KEYS[1], entry)
if not noted or noted == '' then
  redis.call('HSET', KEYS[1], entry, ARGV[3])
  redis.call('ZADD', KEYS[2], 0, entry)
end
refresh(ARGV[1])
