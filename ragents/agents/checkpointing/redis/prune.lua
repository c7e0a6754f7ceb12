-- Leaves the newest checkpoints of each namespace, and the older ones that they cannot be rebuilt without.
--
-- ARGV  1 how many

local keep = tonumber(ARGV[1])

trim('', keep) -- first, since calls go with it

local after = '[c\0\1' -- behind the root namespace
while true do
  local member = redis.call('ZRANGEBYLEX', KEYS[2], after, '(c\1', 'LIMIT', 0, 1)[1]
  if not member then break end
  local namespace = member:match('^c%z([^%z]*)')
  trim(namespace, keep)
  after = '[' .. field('c', namespace) .. '\1'
end
