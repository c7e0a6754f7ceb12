-- Stores a checkpoint, and trims its namespace once it has grown by `slack` beyond what the last trim left.
--
-- ARGV  1 ttl in ms (0: none)   2 fence ('': none)   3 namespace   4 id   5 record   6 root ('': none)
--       7 checkpoints to keep (0: all)   8 slack   9 n, then n refs of large values that must be there already,
--       then pairs of ref and large value
-- Result  0 stored; 1 the thread is held under another number; or the refs that are missing. Nothing is stored then.

local ttl_ms, fence, namespace, id, record, root = unpack(ARGV, 1, 6)
local keep, slack, expected = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

if not holds(fence) then return 1 end

local missing = {}
for i = 10, 9 + expected do
  if redis.call('HEXISTS', KEYS[1], field('b', namespace, ARGV[i])) == 0 then missing[#missing + 1] = ARGV[i] end
end
if #missing > 0 then return missing end

local replaced = checkpoint(namespace, id)
-- First of all what may be refused when memory is short: nothing is half done then.
redis.call('HSET', KEYS[1], field('c', namespace, id), record)
redis.call('ZADD', KEYS[2], 0, field('c', namespace, id))
for i = 10 + expected, #ARGV, 2 do
  redis.call('HSET', KEYS[1], field('b', namespace, ARGV[i]), ARGV[i + 1])
end
if root ~= '' then redis.call('ZADD', KEYS[2], 0, field('r', root, namespace, id)) end

if replaced then
  local refs = {}
  for _, ref in ipairs(replaced[REFS]) do refs[ref] = true end
  sweep(namespace, refs)
end

if keep > 0 then
  local start = field('c', namespace)
  local count = redis.call('ZLEXCOUNT', KEYS[2], '[' .. start .. '\0', '(' .. start .. '\1')
  if count > keep + slack then
    local left = tonumber(redis.call('HGET', KEYS[1], field('k', namespace)) or 0)
    if count > math.max(keep, left) + slack then
      redis.call('HSET', KEYS[1], field('k', namespace), trim(namespace, keep, id))
    end
  end
end

refresh(ttl_ms)
return 0
