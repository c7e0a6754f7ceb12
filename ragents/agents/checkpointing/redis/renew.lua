-- Prolongs a lease. One that has run out goes on as long as nobody has taken the thread since.
--
-- KEYS  1 the lease, see take.lua
-- ARGV  1 lease in ms (0: give it back)   2 how long the number is remembered, ms   3 the number
-- Result  1; 0 when the thread is not held under this number any more

local held = redis.call('HMGET', KEYS[1], 'fence', 'until')
if held[1] ~= ARGV[3] or held[2] == '0' then return 0 end

local ends = 0
if ARGV[1] ~= '0' then
  local time = redis.call('TIME')
  ends = time[1] * 1000000 + time[2] + ARGV[1] * 1000
end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', ends))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
