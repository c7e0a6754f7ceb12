-- Stores writes of a checkpoint, which may come later. An ordinary write that is there already stays as it is.
--
-- ARGV  1 ttl in ms (0: none)   2 fence ('': none)   3 namespace   4 checkpoint id
--       then triples: task NUL number, '1' to overwrite or '0', record
-- Result  0 stored; 1 the thread is held under another number, nothing is stored

local ttl_ms, fence, namespace, id = unpack(ARGV, 1, 4)

if not holds(fence) then return 1 end

for i = 5, #ARGV, 3 do
  local member = field('w', namespace, id, ARGV[i])
  redis.call(ARGV[i + 1] == '1' and 'HSET' or 'HSETNX', KEYS[1], member, ARGV[i + 2])
  redis.call('ZADD', KEYS[2], 0, member)
end
refresh(ttl_ms)
return 0
