-- Says that a process is here, and tells how many are. By the server's clock.
--
-- KEYS  1 the processes: ZSET process -> milliseconds of its last word
-- ARGV  1 the process   2 milliseconds without a word after which one is gone
-- Result  the processes

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[2]))
-- After a clock was put back: who is still here says so again.
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
