--- @include "check_key"
--- @include "root"
-- Return limits by their fields. A key of another type is no limit: doctor names it, and jobs go on.
local function read_limits(tag, ...)
  return unpack(redis.pcall('HMGET', root_of(tag) .. ':limits', ...))
end
