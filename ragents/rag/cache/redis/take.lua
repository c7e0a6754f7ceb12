-- Hold a name, or go on holding it.
-- KEYS[1]: the name's key; ARGV: owner, ms
-- Result: 1 when the owner holds it, else 0
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
