--- @include "index_jobs"
--- @include "now_ms"
--- @include "refuse_commit"
--- @include "send_in_chunks"
--- @include "stand_still"

-- Return why the other keys of a part cannot be written, or nil. `check` is as in refuse_commit.
local function check_written(check, part)
  return check_moving(part.moving, part.state, 'HGET EXISTS UNLINK')
    or check(part.active, 'zset', 'ZADD ZREM ZCARD') or check(part.ended, 'zset', 'ZADD ZREM ZCARD ZRANGEBYSCORE')
    or check(part.index, 'zset', 'ZADD ZREM') or check(part.indexed, 'hash', 'HGET HSET HDEL')
    or (check == check_key or part.now_parked[1] or part.unparked[1]) and check(part.parked, 'hash', 'HSET HDEL')
    or refused(check == check_key and 'HGET HSET DEL PEXPIREAT' or 'HGET HSET', part.state)
end

-- Return why one partition's part of a commit may not be written, as an outcome, or nil with the part,
-- as write_part takes it; `keys` and the rest are those of commit_jobs.lua. Rights are asked for with
-- every command until one part has them: the server has refused the whole call where this user may not
-- read and write one of its keys, and which commands are allowed is not a matter of the partition.
local function check_part(is_first, keys, token, checkpoint, new, group, state, rebuilt, states, parked, events)
  local check = is_first and check_key or check_kind
  local refusal, folded, moving, indexes = refuse_commit(check, keys[2], keys[1], group, token, checkpoint)
  if refusal then return refusal.err and { 'refused', refusal.err } or refusal end
  local part = { log = keys[1], projector = keys[2], active = keys[3], ended = keys[4], parked = keys[5], index = keys[6], indexed = keys[7] }
  part.state, part.moving, part.group, part.before, part.checkpoint, part.indexes = state, moving and rebuilt or nil, group, checkpoint, new, indexes
  part.now_parked, part.unparked = unpack(cmsgpack.unpack(parked))
  local is_typed = whole(events) and is_entry_id(new) and are_arrays(part.now_parked, part.unparked)
  local why = not is_typed and 'ERR an argument is not of its type' or check_written(check, part)
  if why then return { 'refused', why } end
  part.states, part.folded = cmsgpack.unpack(states), folded + whole(events)
  local gaps = find_gaps(part.states, part.moving, state)
  if #gaps > 0 then return { 'gap', unpack(gaps) } end
  return nil, part
end

-- Write a part that has been checked.
local function write_part(part, time_ms, ttl_ms, written)
  local indexes = complete_indexes(part.indexes, part.active, part.ended, part.before, written)
  drop_expired(part.ended, part.index, part.indexed, time_ms - ttl_ms)
  for _, state in ipairs(part.states) do if not state.further then write_state(part, time_ms, unpack(state)) end end
  send_in_chunks(part.now_parked, 'HSET', part.parked)
  send_in_chunks(part.unparked, 'HDEL', part.parked)
  if part.group ~= '' then redis.call('XGROUP', 'SETID', part.log, part.group, part.checkpoint) end
  redis.call('HSET', part.projector, 'checkpoint', part.checkpoint, 'folded', part.folded, 'indexes', indexes)
end
