-- What takes entries away, with their bytes in the accounts. Put in front of the scripts that do.
-- KEYS[1..4]: usage (hash), lru and expiry (sorted sets), sizes (hash: entry -> "bytes, ms it was stored at"); ARGV[1]: length of the prefix
local USAGE, LRU, EXPIRY, SIZES, PREFIX = KEYS[1], KEYS[2], KEYS[3], KEYS[4], tonumber(ARGV[1])

local function count(field, key, by)
  local group = key:sub(PREFIX + 1):match('^(.*):')
  redis.call('HINCRBY', USAGE, field .. '|' .. group, by)
  redis.call('HINCRBY', USAGE, field .. '|' .. group:match('^[^:]*'), by)
  return redis.call('HINCRBY', USAGE, field .. '|', by)
end

local function drop(key)
  local removed = redis.call('UNLINK', key)
  local size, born = string.match(redis.call('HGET', SIZES, key) or '0', '^(%d+) ?(%d*)')
  size, born = tonumber(size), tonumber(born) or 0
  redis.call('HDEL', SIZES, key)
  redis.call('ZREM', LRU, key)
  redis.call('ZREM', EXPIRY, key)
  if size > 0 then
    count('entries', key, -1)
    count('bytes', key, -size)
    count('born', key, -born)
  end
  return removed
end
