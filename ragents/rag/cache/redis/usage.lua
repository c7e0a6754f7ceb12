-- What a group holds and has been asked for.
-- KEYS[1]: usage (hash)
-- ARGV: the group ("layer:owner" or "layer")
-- Result: {hits, misses, entries, bytes, evictions, mean age of the entries in ms or -1 when there is none}
local fields = {}
for n, name in ipairs({'hits', 'misses', 'entries', 'bytes', 'evictions', 'born'}) do fields[n] = name .. '|' .. ARGV[1] end
local told = redis.call('HMGET', KEYS[1], unpack(fields))
for n = 1, #fields do told[n] = tonumber(told[n] or 0) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
told[6] = told[3] > 0 and math.max(0, math.floor(now - told[6] / told[3])) or -1
return told
