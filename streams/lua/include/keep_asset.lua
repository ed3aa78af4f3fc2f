--- @include "check_key"

-- Keep an asset until a time at least, 0 for ever. One that is kept longer already stays so.
local function keep_asset(expiry, id, until_ms)
  local old = redis.call('ZSCORE', expiry, id)
  if not old then return end
  if until_ms == 0 then redis.call('ZREM', expiry, id)
  elseif tonumber(old) < until_ms then redis.call('ZADD', expiry, until_ms, id) end
end
