--- @include "check_key"

-- Return the server's clock in Unix milliseconds. Asked before the first write: the right may be
-- missing.
local function now_ms()
  local time = redis.pcall('TIME')
  if time.err then error(redis.error_reply(refused('TIME') or time.err)) end
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Say whether the server started less than this time ago: nobody could renew while it was away. An
-- uptime below 0 comes from a clock that was set back, and says nothing.
local function started_within(limit_ms)
  local info = redis.pcall('INFO', 'server')
  local uptime_s = type(info) == 'string' and tonumber(string.match(info, 'uptime_in_seconds:(%-?%d+)')) or -1
  return uptime_s >= 0 and uptime_s * 1000 < limit_ms
end
