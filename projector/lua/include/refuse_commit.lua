--- @include "check_key"

-- Return why this owner may not commit, as an outcome, or nil; and the events ever committed.
-- `group` is '' for a rebuild, which has none; `parked` is a key that is written, too.
local function refuse_commit(projector, log, parked, group, token, checkpoint)
  local why = check_key(projector, 'hash', 'HMGET HSET') or check_key(parked, 'hash', 'HSET HDEL')
    or group ~= '' and check_key(log, 'stream', 'XPENDING XACK')
  if why then return redis.error_reply(why) end
  local owner, at, folded = unpack(redis.call('HMGET', projector, 'owner', 'checkpoint', 'folded'))
  if owner ~= token then return { 'not_owner', owner or '' } end
  if (at or '0-0') ~= checkpoint then return { 'moved', at or '0-0' } end
  for _, holder in ipairs(group ~= '' and redis.call('XPENDING', log, group)[4] or {}) do
    if holder[1] ~= token then return { 'foreign', holder[1] } end
  end
  return nil, whole(folded or '0') or 0
end
