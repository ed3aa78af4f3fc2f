--- @include "check_key"

-- After a swap rebuilt states stand at `from .. job` until each was moved to `to .. job`, where all
-- programs read it. Of both the one with the higher seq counts, of equal ones the rebuilt one. `from`
-- is nil while nothing moves.

-- Return the seq of a state, nil where it has none, -2 for a key of another type: the caller reads it
-- again, and deletes what is no state.
local function seq_at(key)
  local seq = redis.pcall('HGET', key, 'seq')
  if type(seq) == 'table' then return -2 end
  return whole(seq)
end

-- Return the seq of a job's state, 0 where there is none, and whether it is still to be moved.
local function stored_seq(from, to, job)
  local seq, rebuilt = seq_at(to .. job) or 0, from and seq_at(from .. job)
  if rebuilt and rebuilt >= math.max(seq, 0) then return rebuilt, true end
  return seq, false
end

-- Put the state of a job where it stays.
local function move_state(from, to, job)
  if not from or redis.call('EXISTS', from .. job) == 0 then return end
  local _, is_rebuilt = stored_seq(from, to, job)
  if is_rebuilt then redis.call('RENAME', from .. job, to .. job) else redis.call('UNLINK', from .. job) end
end

-- Return why states cannot be moved, or nil; `names` are the commands for the rebuilt ones.
local function check_moving(from, to, names)
  if not from then return end
  local is_denied = redis.acl_check_cmd and not redis.acl_check_cmd('RENAME', from, to)
  return refused(names, from) or is_denied and 'NOPERM this user may not send RENAME for ' .. from
end
