-- What the scripts on a thread's checkpoints share; scripts.py puts this file in front of each of them.
--
-- KEYS[1] rows   HASH: field -> value
-- KEYS[2] index  ZSET, every score 0: the fields that must be found in order or by their beginning
-- KEYS[3] lease  HASH, see take.lua
--
-- Fields, with ids escaped by keys.py (no NUL in them, the order of code points kept), joined by NUL:
--   c namespace id              a checkpoint: framed parts, see their positions below; in the index
--   w namespace id task number  a write: framed path, channel, payload; in the index
--   b namespace channel version a large value, shared by the checkpoints that refer to it
--   r root namespace id         index only: a checkpoint that goes when the root namespace's checkpoint `root` goes
--   l call                      the tools' ledger, see begin.lua; in the index
--   k namespace                 how many checkpoints the last trim had to leave
--
-- Framed: each part after its length as 4 bytes, big-endian. (cmsgpack of Redis 6.2 knows no binary strings.)

-- The parts of a checkpoint; the second to fourth are framed themselves. Metadata (JSON) and payload come after.
local PARENT, REFS, COUNTERS, SNAPSHOTS, ROOT = 1, 2, 3, 4, 5
local BATCH = 1000 -- arguments of one command: Lua's unpack has a limit

local function field(...)
  return table.concat({...}, '\0')
end

-- Members of the index that begin with these parts.
local function within(...)
  local start = field(...)
  return redis.call('ZRANGEBYLEX', KEYS[2], '[' .. start .. '\0', '(' .. start .. '\1')
end

-- Newest first.
local function ids_of(namespace)
  local start = field('c', namespace)
  local ids = redis.call('ZREVRANGEBYLEX', KEYS[2], '(' .. start .. '\1', '[' .. start .. '\0')
  for i, member in ipairs(ids) do ids[i] = member:sub(#start + 2) end
  return ids
end

-- At most the first `most` parts. A damaged row gives what can be read of it: the client refuses it.
local function parts_of(data, most)
  local parts, at = {}, 1
  while at + 3 <= #data and #parts ~= most do
    local size = struct.unpack('>I4', data, at)
    parts[#parts + 1] = data:sub(at + 4, at + 3 + size)
    at = at + 4 + size
  end
  return parts
end

local function framed(parts)
  local out = {}
  for i, part in ipairs(parts) do
    out[2 * i - 1] = struct.pack('>I4', #part)
    out[2 * i] = part
  end
  return table.concat(out)
end

local function checkpoint_of(row)
  local record = parts_of(row, ROOT)
  record[PARENT] = record[PARENT] or ''
  record[ROOT] = record[ROOT] or ''
  for _, list in ipairs({REFS, COUNTERS, SNAPSHOTS}) do record[list] = parts_of(record[list] or '') end
  return record
end

-- What this call has read: a trim asks for each checkpoint up to three times. A row that changes is forgotten.
local read = {}

-- nil when there is none
local function checkpoint(namespace, id)
  local name = field('c', namespace, id)
  local key = KEYS[1] .. '\0' .. name
  if not read[key] then
    local row = redis.call('HGET', KEYS[1], name)
    read[key] = row and checkpoint_of(row) or nil
  end
  return read[key]
end

local function forget(row)
  read[KEYS[1] .. '\0' .. row] = nil
end

local function in_batches(command, key, members)
  for first = 1, #members, BATCH do
    redis.call(command, key, unpack(members, first, math.min(first + BATCH - 1, #members)))
  end
end

-- The time starts anew once a twentieth of it has passed: otherwise each read is a write for replicas and the AOF.
local function refresh(ttl_ms)
  local whole = tonumber(ttl_ms)
  if whole <= 0 then return end
  for i = 1, 2 do
    if redis.call('PTTL', KEYS[i]) < 0.95 * whole then redis.call('PEXPIRE', KEYS[i], ttl_ms) end
  end
end

-- Whether the thread is still held under this number ('' asks for nothing).
local function holds(fence)
  if fence == '' then return true end
  local held = redis.call('HMGET', KEYS[3], 'fence', 'until')
  return held[1] == fence and held[2] ~= '0'
end

-- Deletes those of the large values (refs as keys) that no checkpoint of the namespace refers to.
local function sweep(namespace, refs)
  if not next(refs) then return end
  for _, id in ipairs(ids_of(namespace)) do
    local record = checkpoint(namespace, id)
    for _, ref in ipairs(record and record[REFS] or {}) do refs[ref] = nil end
  end
  local rows = {}
  for ref in pairs(refs) do rows[#rows + 1] = field('b', namespace, ref) end
  in_batches('HDEL', KEYS[1], rows)
end

-- Deletes checkpoints of a namespace (ids as keys of `gone`) with their writes and large values.
local function cut(namespace, gone)
  local refs, rows, roots = {}, {}, {}
  for id in pairs(gone) do
    local record = checkpoint(namespace, id)
    for _, ref in ipairs(record and record[REFS] or {}) do refs[ref] = true end
    if record and record[ROOT] ~= '' then roots[#roots + 1] = field('r', record[ROOT], namespace, id) end
    for _, member in ipairs(within('w', namespace, id)) do rows[#rows + 1] = member end
    rows[#rows + 1] = field('c', namespace, id)
    forget(rows[#rows])
  end
  in_batches('HDEL', KEYS[1], rows)
  in_batches('ZREM', KEYS[2], rows)
  in_batches('ZREM', KEYS[2], roots)
  redis.call('HDEL', KEYS[1], field('k', namespace)) -- not what it was any more
  sweep(namespace, refs)
end

-- The same for the namespaces of single calls made from these checkpoints of the root namespace.
local function cut_calls(gone)
  local spaces = {}
  for id in pairs(gone) do
    local start = #field('r', id) + 2
    for _, member in ipairs(within('r', id)) do
      local namespace, child = member:match('^([^%z]*)%z(.*)$', start)
      spaces[namespace] = spaces[namespace] or {}
      spaces[namespace][child] = true
    end
  end
  for namespace, children in pairs(spaces) do cut(namespace, children) end
end

-- Ids that the kept checkpoints cannot be rebuilt without: a delta channel's value is its nearest stored snapshot and
-- all writes since, so the chain back to that must stay.
local function needed_ancestors(records, kept)
  local needed = {}
  for start in pairs(kept) do
    local seeking, parent, seen = {}, records[start][PARENT], {} -- seen: a forged chain may be a ring
    for _, channel in ipairs(records[start][COUNTERS]) do seeking[channel] = true end
    while next(seeking) and records[parent] and not seen[parent] do
      needed[parent], seen[parent] = true, true
      for _, channel in ipairs(records[parent][SNAPSHOTS]) do seeking[channel] = nil end
      parent = records[parent][PARENT]
    end
  end
  return needed
end

-- Leaves the newest `keep` checkpoints of a namespace, `also` (an id or nil), and what they need. Returns how many.
local function trim(namespace, keep, also)
  local ids, records, kept, gone, left = ids_of(namespace), {}, {}, {}, 0
  for place, id in ipairs(ids) do
    records[id] = checkpoint(namespace, id)
    if records[id] and (place <= keep or id == also) then kept[id] = true end
  end
  local needed = needed_ancestors(records, kept)
  for _, id in ipairs(ids) do
    if kept[id] or needed[id] then left = left + 1 else gone[id] = true end
  end
  if next(gone) then
    cut(namespace, gone)
    if namespace == '' then cut_calls(gone) end
  end
  return left
end
