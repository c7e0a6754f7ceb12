-- Takes a thread's lease. Its number is greater than all before, even when the key had expired: it starts at the time.
--
-- KEYS  1 the lease: HASH fence -> the last number given, until -> microseconds (0: given back)
-- ARGV  1 lease in ms   2 how long the number is remembered, ms
-- Result  the number; nil while somebody holds the thread

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local held = redis.call('HMGET', KEYS[1], 'fence', 'until')
if held[2] and tonumber(held[2]) > now then return false end

local fence = math.max(now, tonumber(held[1] or 0) + 1)
-- Below 2^53 until the year 2255: exact as a double.
redis.call('HSET', KEYS[1], 'fence', string.format('%.0f', fence), 'until', string.format('%.0f', now + ARGV[1] * 1000))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return fence
