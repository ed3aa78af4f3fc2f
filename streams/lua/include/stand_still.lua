--- @include "root"

-- Return why nothing may be written now, or nil: on a cluster, while a slot moves key by key, each key
-- that has gone, or that a script makes, would raise in mid-script. No key has this name, so that asking
-- for it raises then, too. Asked before the first write.
local function stand_still(tag)
  return not namespace_of(tag) and redis.pcall('TYPE', tag .. ':gone').err or nil
end
