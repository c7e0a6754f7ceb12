-- Notes a thread in a list of threads (of a tenant, or of a run), and forgets those that must have expired.
--
-- KEYS  1 the list: ZSET thread -> when it was noted, ms
-- ARGV  1 thread   2 now, ms   3 how long an entry stays without being noted again, ms (0: for ever)

redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
local stay = tonumber(ARGV[3])
if stay > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', tonumber(ARGV[2]) - stay))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
