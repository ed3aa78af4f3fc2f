--- @include "check_key"

-- Keep a released job for one runner: `kept` is "runner ms", or '' for none.
local function keep_for(head, kept, time_ms)
  local runner, ms = string.match(kept, '^(%S+) (%d+)$')
  local until_ms = runner and string.format('%d', time_ms + ms) or '0'
  redis.call('HSET', head, 'for', runner or '', 'for_until_ms', until_ms)
end

-- Say whether a released job is kept for another runner than this one.
local function is_kept_for_another(head, runner, time_ms)
  local kept, until_ms = unpack(redis.call('HMGET', head, 'for', 'for_until_ms'))
  local left_ms = (whole(until_ms) or 0) - time_ms
  -- A time far ahead is from before the server's clock was set back.
  return kept and kept ~= '' and kept ~= runner and left_ms > 0 and left_ms <= 60000
end
