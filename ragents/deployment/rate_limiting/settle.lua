-- Corrects what take.lua took, when it is known what a request really needed, and ends its lease.
--
-- KEYS  1 the user's buckets, 2 the user's requests in flight, as in take.lua
-- ARGV  1..2 of each bucket: as in take.lua; change in units, of either sign
--       with KEYS 2 also: lease
-- A bucket may come to owe more than it holds; it never holds more than it can.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local longest = 0

for n = 1, math.floor(#ARGV / 2) do
  local name, period, amount = string.match(ARGV[2 * n - 1], '^(%l+) (%d+) (%d+) %d+$')
  local before = 0
  local stored = redis.call('HGET', KEYS[1], name)
  if stored then
    local at, parts = string.match(stored, '^(%d+) (%d+)$')
    before = math.max(0, parts - math.max(0, now - at) * amount)
  end
  local after = math.max(0, before + ARGV[2 * n] * period)
  redis.call('HSET', KEYS[1], name, string.format('%.0f %.0f', now, after))
  longest = math.max(longest, after / amount)
end
if longest > 0 or redis.call('PTTL', KEYS[1]) == -1 then
  local ttl = math.ceil(longest / 1000) + 1
  if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl)) end
end

if KEYS[2] then redis.call('ZREM', KEYS[2], ARGV[#ARGV]) end
return 1
