--- @include "precedes"

-- Return why a rebuilt projection may not take the place of the live one, as an outcome, or nil;
-- and the checkpoint and the number of events of the rebuilt one.
local function refuse_swap(live, rebuilt, token)
  local owner, checkpoint, folded = unpack(redis.call('HMGET', rebuilt, 'owner', 'checkpoint', 'folded'))
  if owner ~= token then return { 'not_owner', owner or '' } end
  local live_at = redis.call('HGET', live, 'checkpoint') or '0-0'
  checkpoint = checkpoint or '0-0'
  if precedes(checkpoint, live_at) then return { 'behind', live_at } end
  return nil, checkpoint, folded or 0
end
