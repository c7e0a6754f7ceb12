-- Checkpoints with their large values and writes, in one string.
--
-- ARGV  1 ttl in ms (0: none)   2 '1': without large values and writes   3 how many ancestors to add to each
--       then pairs: namespace, checkpoint id ('': the newest)
-- Result  of each one found, in order, six strings: namespace, id, '1' when its parent is there ('' otherwise),
--         record, its large values in the order of its refs, its writes (pairs of task NUL number, record).
--         All of it is framed, and so are the last two within.

local bare, ancestors = ARGV[2] == '1', tonumber(ARGV[3])

local function values_of(namespace, record)
  local values = {}
  for i, ref in ipairs(record[REFS]) do
    values[i] = redis.call('HGET', KEYS[1], field('b', namespace, ref)) or ''
  end
  return framed(values)
end

local function writes_of(namespace, id)
  local members, writes = within('w', namespace, id), {}
  local start = #field('w', namespace, id) + 2
  for _, member in ipairs(members) do
    writes[#writes + 1] = member:sub(start)
    writes[#writes + 1] = redis.call('HGET', KEYS[1], member) or ''
  end
  return framed(writes)
end

local found = {}

-- Returns the parent's id, '' when it is not there.
local function add(namespace, id)
  local row = redis.call('HGET', KEYS[1], field('c', namespace, id))
  if not row then return '' end
  local record = checkpoint_of(row)
  local parent = record[PARENT]
  if parent ~= '' and redis.call('HEXISTS', KEYS[1], field('c', namespace, parent)) == 0 then parent = '' end
  found[#found + 1] = namespace
  found[#found + 1] = id
  found[#found + 1] = parent == '' and '' or '1'
  found[#found + 1] = row
  found[#found + 1] = bare and '' or values_of(namespace, record)
  found[#found + 1] = bare and '' or writes_of(namespace, id)
  return parent
end

for i = 4, #ARGV, 2 do
  local namespace, id = ARGV[i], ARGV[i + 1]
  if id == '' then
    local start = field('c', namespace)
    local newest = redis.call('ZREVRANGEBYLEX', KEYS[2], '(' .. start .. '\1', '[' .. start .. '\0', 'LIMIT', 0, 1)[1]
    id = newest and newest:sub(#start + 2) or ''
  end
  local more = ancestors
  local parent = add(namespace, id)
  while parent ~= '' and more > 0 do
    parent, more = add(namespace, parent), more - 1
  end
end

refresh(ARGV[1])
return framed(found)
