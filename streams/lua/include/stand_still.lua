--- @include "check_key"
--- @include "root"

-- Return why nothing may be written now, or nil: on a cluster, while a slot moves key by key, each key
-- that has gone, or that a script makes, would raise in mid-script. No key has this name, so that asking
-- for it raises then, too. Asked before the first write.
local function stand_still(tag)
  if namespace_of(tag) then return nil end
  local why = redis.pcall('TYPE', tag .. ':gone').err
  return why and (refused('TYPE', tag .. ':gone') or why)
end
