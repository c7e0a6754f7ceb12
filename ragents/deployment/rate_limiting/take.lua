-- Takes from every bucket of a user, or from none. By the server's clock.
--
-- KEYS  1 the user's buckets: HASH name -> "when looked at, in microseconds; parts missing then"
--       2 the user's requests in flight (only for limits on them): ZSET lease -> end in microseconds
-- ARGV  1..2 of each bucket: "name, period in microseconds, amount that comes back per period, capacity" without commas;
--       need
--       with KEYS 2 also: lease, most at once, lease in milliseconds
-- Result  status "1 0 - LEFT ..." or "0 WAIT REASON LEFT ...": microseconds, the bucket that takes longest (or
--         concurrency), and for each bucket the whole units left
--
-- A part is 1/period of a unit: whole numbers, exact in a double below 2^53. Greater ones (a cost per day) round at
-- the sixteenth digit. A key lives until nothing is missing.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local count = math.floor((KEYS[2] and #ARGV - 3 or #ARGV) / 2)

local names, periods, amounts, capacities = {}, {}, {}, {}
for n = 1, count do
  names[n], periods[n], amounts[n], capacities[n] = string.match(ARGV[2 * n - 1], '^(%l+) (%d+) (%d+) (%d+)$')
end
local stored = redis.call('HMGET', KEYS[1], unpack(names))

local wait, reason = 0, '-'
local missing, left, left_now = {}, {}, {}
local longest = 0
for n = 1, count do
  local period, amount = tonumber(periods[n]), tonumber(amounts[n])
  local full, need = capacities[n] * period, ARGV[2 * n] * period
  local before = 0
  if stored[n] then
    local at, parts = string.match(stored[n], '^(%d+) (%d+)$')
    before = math.max(0, parts - math.max(0, now - at) * amount)
  end
  local after = before + need
  local too_much = math.max(after - full, before - full + 1)
  if too_much > 0 then
    local us = math.ceil(too_much / amount)
    if us > wait then wait, reason = us, names[n] end
  end
  missing[n] = after
  left[n] = math.floor((full - after) / period)
  left_now[n] = math.floor(math.max(0, full - before) / period)
  longest = math.max(longest, after / amount)
end

if KEYS[2] then
  local most, lease_ms = tonumber(ARGV[#ARGV - 1]), tonumber(ARGV[#ARGV])
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now))
  -- A request that is sent again after a broken connection may have its place already.
  if redis.call('ZCARD', KEYS[2]) >= most and not redis.call('ZSCORE', KEYS[2], ARGV[#ARGV - 2]) then
    -- Nobody knows when one of them ends: ask again in a second, or when the oldest lease is over.
    local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
    local us = math.min(1000000, math.max(1, first[2] - now))
    if us > wait then wait, reason = us, 'concurrency' end
  elseif wait == 0 then
    redis.call('ZADD', KEYS[2], string.format('%.0f', now + lease_ms * 1000), ARGV[#ARGV - 2])
    if redis.call('PTTL', KEYS[2]) < lease_ms then redis.call('PEXPIRE', KEYS[2], string.format('%.0f', lease_ms)) end
  end
end

if wait > 0 then
  return {ok = string.format('0 %.0f %s %s', wait, reason, table.concat(left_now, ' '))}
end

local fields = {}
for n = 1, count do
  fields[2 * n - 1] = names[n]
  fields[2 * n] = string.format('%.0f %.0f', now, missing[n])
end
redis.call('HSET', KEYS[1], unpack(fields))
local ttl = math.ceil(longest / 1000) + 1
if redis.call('PTTL', KEYS[1]) < ttl then redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl)) end
return {ok = '1 0 - ' .. table.concat(left, ' ')}
