-- Appends events of a run. Without any: the run is alive.
--
-- KEYS  1 the events: HASH number -> name NUL payload   2 about the run: HASH appended, read -> microseconds
-- ARGV  1 ttl in ms   then triples: number, name, payload

for i = 2, #ARGV, 3 do
  redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 1] .. '\0' .. ARGV[i + 2])
end
local time = redis.call('TIME')
redis.call('HSET', KEYS[2], 'appended', string.format('%.0f', time[1] * 1000000 + time[2]))
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
