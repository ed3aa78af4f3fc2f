--- @include "check_key"
--- @include "moving_states"

-- Return why this owner may not commit, as an outcome, or nil; the events ever committed; and the
-- swap whose states are still to be moved, false where there is none.
-- `group` is '' for a rebuild, which has none; `parked` is a key that is written, too.
local function refuse_commit(projector, log, parked, group, token, checkpoint)
  local why = check_key(projector, 'hash', 'HMGET HSET') or check_key(parked, 'hash', 'HSET HDEL')
    or group ~= '' and check_key(log, 'stream', 'XPENDING XGROUP|SETID')
  if why then return redis.error_reply(why) end
  local owner, at, folded, moving = unpack(redis.call('HMGET', projector, 'owner', 'checkpoint', 'folded', 'moving'))
  if owner ~= token then return { 'not_owner', owner or '' } end
  if (at or '0-0') ~= checkpoint then return { 'moved', at or '0-0' } end
  local holders = group ~= '' and redis.call('XPENDING', log, group)[4]
  if holders and holders[1] then return { 'foreign', holders[1][1] } end
  return nil, whole(folded or '0') or 0, moving
end

-- Mark the states that are stored further already, as `further`. Return the others that are not
-- at the seq at which they must be, each with the seq at which it is.
-- `from` and `to` are keys of states without the job id, see moving_states.lua.
local function find_gaps(states, from, to)
  local gaps = {}
  for _, state in ipairs(states) do
    local stored = stored_seq(from, to, state[1])
    if stored >= state[3] then state.further = true
    elseif stored ~= state[2] then table.insert(gaps, state[1]) table.insert(gaps, stored) end
  end
  return gaps
end

-- Return which indexes are complete after a commit: of those written now, all when nothing was committed
-- before, else those that were complete. They are words with a space between them.
local function complete_indexes(projector, active, ended, checkpoint, written)
  if checkpoint == '0-0' and redis.call('ZCARD', active) + redis.call('ZCARD', ended) == 0 then return written end
  local complete = {}
  for word in string.gmatch(redis.call('HGET', projector, 'indexes') or '', '%S+') do
    if string.find(' ' .. written .. ' ', ' ' .. word .. ' ', 1, true) then table.insert(complete, word) end
  end
  return table.concat(complete, ' ')
end
