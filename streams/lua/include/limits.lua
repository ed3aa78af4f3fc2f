--- @include "check_key"
--- @include "root"
-- Return limits by their fields, each read once by a script, which changes none. A key of another type
-- is no limit: doctor names it, and jobs go on.
local limits = {}
local function read_limits(tag, ...)
  local key = root_of(tag) .. ':limits'
  local asked = table.concat({ key, ... }, '\n')
  limits[asked] = limits[asked] or redis.pcall('HMGET', key, ...)
  return unpack(limits[asked])
end
