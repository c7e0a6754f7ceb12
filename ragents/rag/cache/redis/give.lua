-- Let a name go, if it is still the owner's.
-- KEYS[1]: the name's key; ARGV: owner
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
