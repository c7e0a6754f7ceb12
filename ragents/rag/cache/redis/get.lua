-- Look up entries: counts hits and misses, and moves what was found to the young end of the LRU list.
-- KEYS: usage (hash), lru (sorted set: entry -> ms of its last use), then the entries
-- ARGV: the length of the prefix that every entry's key has
-- Result: {ms now, value or false, ms left, value or false, ms left, ...}; a value begins with the ms it was stored at
-- Writes are tried only: a server without memory left still answers look-ups. A key of another type is a miss.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {now}
for n = 3, #KEYS do
  local value = redis.pcall('GET', KEYS[n])
  if type(value) ~= 'string' then value = false end
  local group = KEYS[n]:sub(ARGV[1] + 1):match('^(.*):')
  local field = 'misses|'
  if value then
    field = 'hits|'
    redis.pcall('ZADD', KEYS[2], 'XX', now, KEYS[n])
  end
  redis.pcall('HINCRBY', KEYS[1], field .. group, 1)
  redis.pcall('HINCRBY', KEYS[1], field .. group:match('^[^:]*'), 1)
  found[#found + 1] = value
  found[#found + 1] = value and redis.call('PTTL', KEYS[n]) or 0
end
return found
