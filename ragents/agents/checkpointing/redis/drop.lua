-- Deletes checkpoints with what belongs to them: writes, large values, the calls made from the root namespace.
--
-- ARGV  pairs: namespace, checkpoint id

local spaces = {}
for i = 1, #ARGV, 2 do
  local namespace, id = ARGV[i], ARGV[i + 1]
  spaces[namespace] = spaces[namespace] or {}
  spaces[namespace][id] = true
end
for namespace, gone in pairs(spaces) do
  cut(namespace, gone)
  if namespace == '' then cut_calls(gone) end
end
