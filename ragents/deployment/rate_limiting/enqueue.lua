-- Puts an entry into the queue. By the server's clock.
--
-- KEYS  1 the queue: ZSET "number entry" -> microseconds    2 the last number given
-- ARGV  1 the entry   2 microseconds that its priority puts it back   3 most entries
-- Result  entries in the queue, 0 when it was full

if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
local time = redis.call('TIME')
local score = string.format('%.0f', time[1] * 1000000 + time[2] + ARGV[2])
-- Entries of the same microsecond in the order in which they came.
redis.call('ZADD', KEYS[1], score, string.format('%016.0f %s', redis.call('INCR', KEYS[2]), ARGV[1]))
return redis.call('ZCARD', KEYS[1])
