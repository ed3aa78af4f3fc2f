--- @include "check_key"

-- Say whether a mark of bytes that are being removed still counts. No sweeper marks for so long as ten
-- minutes: a mark for longer is from before the clock was set back, and its sweeper is done.
local function is_doomed(mark, now)
  local until_ms = whole(mark)
  return until_ms ~= nil and until_ms > now and until_ms < now + 600000
end
