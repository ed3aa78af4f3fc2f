--- @include "places"
-- Note in the order of a spread partition a place that was taken in the namespace's: `taken` has it,
-- and 'now' and 'new' there. Return the score of a job at it, nil for none.
local function adopt_place(at, taken)
  local place, now, new = string.match(taken or '', '^(%d+) (%d+) (%d+)$')
  if not whole(place) then return nil end
  for member, score in pairs({ ['user ' .. at.user] = place + step_of(at.share), now = now, new = new }) do
    if not check_key(at.order, 'zset') then redis.call('ZADD', at.order, 'GT', string.format('%d', score), member) end
  end
  return string.format('%d', band_of(at.priority) + place)
end
