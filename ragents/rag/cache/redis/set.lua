-- Store an entry, forget what has expired, and drop the least recently used until the budget holds. Of counters beyond
-- their number, some go that are of owners of whom nothing is held (see COUNTED_FIELDS).
-- KEYS[1..4]: see drop.lua; KEYS[5]: the entry
-- ARGV: length of the prefix, value, ms to live, budget in bytes, bytes that an entry takes besides its value, most
--       counters
-- Result: the keys that were dropped for the budget
redis.call('HINCRBY', USAGE, 'sets|', 1)  -- first, for Redis refuses only a script's first write when memory is short
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, value, ttl, budget = KEYS[5], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
for _, expired in ipairs(redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, 100)) do drop(expired) end
drop(key)
local size = #value + 8 + tonumber(ARGV[5])
if size > budget then return {} end
redis.call('SET', key, struct.pack('>I8', now) .. value, 'PX', ttl)
redis.call('HSET', SIZES, key, string.format('%d %.0f', size, now))
redis.call('ZADD', LRU, now, key)
redis.call('ZADD', EXPIRY, now + ttl, key)
count('entries', key, 1)
count('born', key, now)
local total = count('bytes', key, size)
local dropped = {}
while total > budget do
  local oldest = redis.call('ZRANGE', LRU, 0, 0)[1]
  if not oldest then break end
  local before = total
  drop(oldest)
  total = tonumber(redis.call('HGET', USAGE, 'bytes|'))
  count('evictions', oldest, 1)
  dropped[#dropped + 1] = oldest
  if total >= before then break end  -- the accounts were evicted by the server itself: nothing more to learn here
end
if redis.call('HLEN', USAGE) > tonumber(ARGV[6]) then
  for _, field in ipairs(redis.call('HRANDFIELD', USAGE, 10)) do
    local group = field:match('|(.*:.*)$')  -- a layer's own sums have no owner, and stay
    if group and tonumber(redis.call('HGET', USAGE, 'entries|' .. group) or 0) <= 0 then
      for _, name in ipairs({'hits|', 'misses|', 'entries|', 'bytes|', 'evictions|', 'born|'}) do
        redis.call('HDEL', USAGE, name .. group)
      end
    end
  end
end
return dropped
