-- The events of a run that follow one, and a note that it is being read.
--
-- KEYS    1 the events   2 about the run, see append_events.lua
-- ARGV    1 after   2 at most so many (0: only when it was read last, and no note)
-- Result  nil: no such run; else microseconds since the last append, since it was read ('' never), then the events

local about = redis.call('HMGET', KEYS[2], 'appended', 'read')
if not about[1] then return nil end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local result = {string.format('%.0f', now - about[1]), about[2] and string.format('%.0f', now - about[2]) or ''}
local limit = tonumber(ARGV[2])
if limit == 0 then return result end

redis.call('HSET', KEYS[2], 'read', string.format('%.0f', now))
for n = ARGV[1] + 1, ARGV[1] + limit do
  local event = redis.call('HGET', KEYS[1], string.format('%.0f', n))
  if not event then break end
  result[#result + 1] = event
end
return result
