-- The tools' ledger: forgets the calls of a thread.

local entries = within('l')
in_batches('HDEL', KEYS[1], entries)
in_batches('ZREM', KEYS[2], entries)
