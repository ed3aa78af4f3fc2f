--- @include "check_key"
--- @include "moving_states"

-- Return why a key cannot be used by who has the right, or nil: it is of another type.
local function check_kind(key, kind) return check_key(key, kind) end

-- Return why this owner may not commit, as an outcome, or nil; the events ever committed; the swap whose
-- states are still to be moved, false where there is none; and which indexes are complete.
-- `group` is '' for a rebuild, which has none. `check` is check_key, or check_kind where the rights are known.
local function refuse_commit(check, projector, log, group, token, checkpoint)
  local why = check == check_key and (refused('HMGET HSET', projector) or group ~= '' and refused('XPENDING XGROUP|SETID', log))
  if why then return redis.error_reply(why) end
  local values = redis.pcall('HMGET', projector, 'owner', 'checkpoint', 'folded', 'moving', 'indexes')
  if values.err then return redis.error_reply(check_key(projector, 'hash') or values.err) end
  local owner, at, folded, moving, indexes = unpack(values)
  if owner ~= token then return { 'not_owner', owner or '' } end
  if (at or '0-0') ~= checkpoint then return { 'moved', at or '0-0' } end
  local pending = group ~= '' and redis.pcall('XPENDING', log, group) or {}
  if pending.err then return redis.error_reply(check_key(log, 'stream') or pending.err) end
  local holders = pending[4]
  if holders and holders[1] then return { 'foreign', holders[1][1] } end
  return nil, whole(folded or '0') or 0, moving, indexes or ''
end

-- Mark the states that are stored further already, as `further`. Return the others that are not
-- at the seq at which they must be, each with the seq at which it is, -2 for what is no state.
-- `from` and `to` are keys of states without the job id, see moving_states.lua.
local function find_gaps(states, from, to)
  local gaps = {}
  for _, state in ipairs(states) do
    local stored = stored_seq(from, to, state[1])
    if stored >= state[3] and state[2] >= 0 then state.further = true
    elseif state[2] >= 0 and stored ~= state[2] then table.insert(gaps, state[1]) table.insert(gaps, stored) end
  end
  return gaps
end

-- Return which indexes are complete after a commit: of those written now, all when nothing was committed
-- before, else those that were complete. They are words with a space between them.
local function complete_indexes(indexes, active, ended, checkpoint, written)
  if indexes == written then return written end
  if checkpoint == '0-0' and redis.call('ZCARD', active) + redis.call('ZCARD', ended) == 0 then return written end
  local complete = {}
  for word in string.gmatch(indexes, '%S+') do
    if string.find(' ' .. written .. ' ', ' ' .. word .. ' ', 1, true) then table.insert(complete, word) end
  end
  return table.concat(complete, ' ')
end
