--- @include "check_key"
--- @include "root"
-- Return limits by their fields. A key of another type is no limit: doctor names it, and jobs go on.
local function read_limits(tag, ...)
  local key = root_of(tag) .. ':limits'
  return unpack(check_key(key, 'hash') and {} or redis.call('HMGET', key, ...))
end
