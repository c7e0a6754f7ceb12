-- Stores checkpoints and writes that came together. Each is stored as if it were alone.
--
-- KEYS  of each item in turn: the three keys of its thread, see thread.lua
-- ARGV  1 ttl in ms (0: none)
--       then the items, each framed (many arguments cost the client more than one):
--       'c', fence, namespace, id, record, root ('': none), checkpoints to keep (0: all), slack, n,
--         then n refs of large values that must be there already, then pairs of ref and large value
--         A namespace is trimmed once it has grown by `slack` beyond what the last trim left.
--       'w', fence, namespace, checkpoint id, then triples: task NUL number, '1' to overwrite or '0', record
--         The checkpoint may come later. An ordinary write that is there already stays as it is.
--       fence: '' for none
-- Result  of each item: 0 stored; 1 the thread is held under another number; the refs that are missing; or an error.
--         Only with 0 anything of it is stored (but for an error in the middle, which only a damaged row can cause).

local ttl_ms = ARGV[1]

local function put(parts)
  local fence, namespace, id, record, root = unpack(parts, 2, 6)
  local keep, slack, expected = tonumber(parts[7]), tonumber(parts[8]), tonumber(parts[9])

  if not holds(fence) then return 1 end

  local missing = {}
  for i = 10, 9 + expected do
    if redis.call('HEXISTS', KEYS[1], field('b', namespace, parts[i])) == 0 then missing[#missing + 1] = parts[i] end
  end
  if #missing > 0 then return missing end

  local row = field('c', namespace, id)
  local replaced = checkpoint(namespace, id)
  -- First of all what may be refused when memory is short: nothing is half done then.
  redis.call('HSET', KEYS[1], row, record)
  forget(row)
  redis.call('ZADD', KEYS[2], 0, row)
  for i = 10 + expected, #parts, 2 do
    redis.call('HSET', KEYS[1], field('b', namespace, parts[i]), parts[i + 1])
  end
  if root ~= '' then redis.call('ZADD', KEYS[2], 0, field('r', root, namespace, id)) end

  if replaced then
    local old = {}
    for _, ref in ipairs(replaced[REFS]) do old[ref] = true end
    sweep(namespace, old)
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
end

local function put_writes(parts)
  local fence, namespace, id = unpack(parts, 2, 4)

  if not holds(fence) then return 1 end

  for i = 5, #parts, 3 do
    local member = field('w', namespace, id, parts[i])
    redis.call(parts[i + 1] == '1' and 'HSET' or 'HSETNX', KEYS[1], member, parts[i + 2])
    redis.call('ZADD', KEYS[2], 0, member)
  end
  refresh(ttl_ms)
  return 0
end

local function stored(item)
  local parts = parts_of(item)
  return parts[1] == 'c' and put(parts) or parts[1] == 'w' and put_writes(parts)
end

if #KEYS == 3 then return {stored(ARGV[2])} end -- its error is the call's

local keys, results = {unpack(KEYS)}, {}
for item = 1, #keys / 3 do
  for i = 1, 3 do KEYS[i] = keys[3 * item - 3 + i] end -- which thread.lua looks at
  local ok, result = pcall(stored, ARGV[item + 1])
  -- Redis 6 raises texts, Redis 7 tables.
  results[item] = (ok or type(result) == 'table') and result or {err = result}
end
return results
